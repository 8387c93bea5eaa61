package keyfile

import (
	"fmt"
	"strings"
	"unicode"
)

// Secret returns the one line that a file holds. Line ends after it are left out: editors
// and shells add them.
func Secret(name string) (string, error) {
	all, err := text(name)
	if err != nil {
		return "", err
	}
	line := strings.TrimRight(all, "\r\n")
	problem := ""
	switch {
	case strings.TrimSpace(line) == "":
		problem = "holds nothing but blanks"
	case strings.Contains(line, "-----BEGIN "):
		problem = "holds " + pemKind(line) + ": the secret alone belongs here, on one line"
	case strings.ContainsAny(line, "\r\n"):
		lines := "several lines"
		if strings.Contains(line, "\r\n") {
			lines = "several lines with Windows line ends (CRLF)"
		}
		problem = "holds " + lines + ": leave the one line of the secret"
	case quoted(line):
		problem = "has quotes around its content: remove them"
	case strings.TrimSpace(line) != line:
		problem = "has a blank before or behind its content: remove it"
	case strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsGraphic(r) }):
		problem = "holds a character that cannot be seen: write the secret again"
	}
	if problem != "" {
		return "", fmt.Errorf("%s %s", name, problem)
	}
	return line, nil
}

func quoted(line string) bool {
	line = strings.TrimSpace(line)
	return len(line) > 1 && strings.ContainsRune("\"'`", rune(line[0])) && line[0] == line[len(line)-1]
}
