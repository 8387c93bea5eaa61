package config

import (
	"errors"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of the file. The parser's time and memory grow with the square of the
// depth and of the keys in one mapping, so they are checked on the tokens, which
// cost little. The longest sensible file lists some ten thousand streams.
const (
	maxBytes  = 1 << 20
	maxTokens = 100_000
	maxDepth  = 32
)

// refused are the parts of YAML that a settings file does without: they make one
// place depend on another, or let a short file stand for an endless one.
var refused = map[token.Type]string{
	token.AnchorType:     "anchors (&) are not supported: write the value where it is used",
	token.AliasType:      "aliases (*) are not supported: write the value where it is used",
	token.MergeKeyType:   "merge keys (<<) are not supported: write the values where they are used",
	token.TagType:        "tags (!) are not supported: write the plain value",
	token.DirectiveType:  "directives (%) are not supported: remove the line",
	token.MappingKeyType: "complex keys (?) are not supported: write key: value",
}

// parse turns the file into its tree; nil for an empty one. Where it reports
// false, nothing of the file can be used.
func (r *report) parse(text string) (ast.Node, bool) {
	text = strings.TrimPrefix(text, "\ufeff")
	if len(text) > maxBytes {
		r.atLine(0, "", "the file is larger than 1MiB")
		return nil, false
	}
	if at := unreadable(text); at >= 0 {
		r.atLine(1+strings.Count(text[:at], "\n"), "", "not a text file: a byte here is not UTF-8 or is a control character")
		return nil, false
	}
	tokens := lexer.Tokenize(text)
	if !r.admit(tokens) {
		return nil, false
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		line, problem := syntax(err)
		r.atLine(line, "", "not valid YAML: %s", problem)
		return nil, false
	}
	var root ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case root == nil:
			root = doc.Body
		default:
			r.atLine(lineOf(doc.Body), "", "a second document: a settings file holds one, without --- in it")
			return nil, false
		}
	}
	return root, true
}

// unreadable returns the index of the first byte that no text file holds, or -1.
func unreadable(text string) int {
	for i, c := range text {
		if c == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
				return i
			}
		}
		if unicode.IsControl(c) && c != '\n' && c != '\r' && c != '\t' {
			return i
		}
	}
	return -1
}

// admit checks the tokens before the parser sees them.
func (r *report) admit(tokens token.Tokens) bool {
	if len(tokens) > maxTokens {
		r.atLine(0, "", "the file has more than %d tokens", maxTokens)
		return false
	}
	good := true
	reported := map[token.Type]int{} // the last line of each kind
	var flow, inline, line int
	for _, t := range tokens {
		if t.Position.Line != line {
			line, inline = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType:
			inline++ // "- - -" nests without brackets
		}
		if flow > maxDepth || inline > maxDepth {
			r.atLine(line, "", "lists and mappings are nested deeper than %d", maxDepth)
			return false
		}
		if problem, is := refused[t.Type]; is && reported[t.Type] != line {
			r.atLine(line, "", "%s", problem)
			good, reported[t.Type] = false, line
		}
	}
	return good
}

// syntax reads the line and the problem off the library's error, which would
// print an excerpt of the file, and has one in its message in places.
func syntax(err error) (int, string) {
	e, ok := errors.AsType[yaml.Error](err)
	if !ok {
		return 0, err.Error()
	}
	line := 0
	if t := e.GetToken(); t != nil {
		line = t.Position.Line
	}
	problem := quoted.ReplaceAllString(e.GetMessage(), "")
	if strings.Contains(problem, "\t") {
		problem = "a tab: indent with spaces"
	}
	return line, strings.Replace(problem, "invalid header option", "a value that begins with | or > has to stand in quotes", 1)
}

// quoted is what the library's message quotes of the file, but for single characters: it may be a
// secret, wherever that stands.
var quoted = regexp.MustCompile(`:? ?"(?:[^"\\]|\\.){2,}"`)

func lineOf(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}
