"""Writes the JSON schemas of one Kubernetes version in the layout that kubeconform reads.

The Python package kubernetes-validate carries them with absolute references, which
kubeconform would try to fetch; here they are made relative, so the check works offline.

    python schemas.py 1.37.0 .cache/schemas/v1.37.0
"""

import importlib.util
import json
import pathlib
import sys


def main(version: str, target: str) -> None:
    # It is found, not imported: that would take all that it depends on.
    package = pathlib.Path(importlib.util.find_spec("kubernetes_validate").origin).parent
    source = package / "kubernetes-json-schema" / f"v{version}-local-strict"
    if not source.is_dir():
        found = [p for p in package.rglob(f"v{version}-local-strict") if p.is_dir()]
        if not found:
            sys.exit(f"the package has no schemas of Kubernetes {version}")
        source = found[0]
    out = pathlib.Path(target + ".new")
    out.mkdir(parents=True, exist_ok=True)
    for file in source.glob("*.json"):
        schema = json.loads(file.read_text())
        schema.pop("$id", None)
        (out / file.name).write_text(relative(json.dumps(schema)))
    out.rename(target)


def relative(text: str) -> str:
    schema = json.loads(text)

    def walk(node):
        if isinstance(node, dict):
            ref = node.get("$ref")
            if isinstance(ref, str) and "_definitions.json" in ref:
                node["$ref"] = "_definitions.json" + ref.split("_definitions.json", 1)[1]
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(schema)
    return json.dumps(schema)


if __name__ == "__main__":
    main(*sys.argv[1:])
