package contactsync

import (
	"strconv"
	"strings"
)

// Commands are command lines for an operator, who can run them as they are printed.
type Commands struct {
	Settings string // the settings file; empty where there is none
}

// ShowDeadLetter shows the dead letter of a record.
func (c Commands) ShowDeadLetter(p Position) string {
	line := "contactsync dlq show " + shellWord(p.String())
	if c.Settings != "" {
		line += " --config " + shellWord(c.Settings)
	}
	return line
}

// shellWord quotes a word where a shell would not take it as it is, always on one line: the
// topic of a dead letter that somebody else wrote may be anything.
func shellWord(word string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./@:+,=-"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	if quoted := strconv.Quote(word); strings.Contains(quoted, `\`) { // the shell knows these escapes too
		return "$'" + strings.ReplaceAll(quoted[1:len(quoted)-1], "'", `\'`) + "'"
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
