package upstream

import (
	"strings"
	"testing"
)

func TestBodyText(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"":                 "",
		" plain \n text\t": "plain text",
		`{"errors":[{"msg":"Invalid StreamId","code":400}]}`:             "Invalid StreamId (code 400)",
		`{"errors":["one","two","one"]}`:                                 "one; two",
		`{"error":{"code":"bad","description":"no such field"}}`:         "no such field", // a code is a number
		`{"message":"no","statusCode":"4002","customCode":17,"code":17}`: "no (code 4002, 17)",
		`{"message":"no","code":123456789}`:                              "no",                 // too long for a status
		`{"name":"Zebulon","message":"no"}`:                              "no",                 // other members are not quoted
		`{"name":"Zebulon"}`:                                             `{"name":"Zebulon"}`, // without a message all is
		`{"message":"cut`:                                                `{"message":"cut`,    // likewise if it is not JSON
		`[{"message":"first"},{"error":["second"]}]`:                     "first; second",
		`{"error":` + strings.Repeat("[", 20) + `"deep"` + strings.Repeat("]", 20) + `,"msg":"no"}`: "no",
		`{"error":"` + strings.Repeat("a", maxText) + `","msg":"no"}`:                               strings.Repeat("a", maxText),
		strings.Repeat("b", maxText+1):                                                              strings.Repeat("b", maxText),
	} {
		if got := bodyText([]byte(body)); got != want {
			t.Errorf("%.80q: got %.80q, want %.80q", body, got, want)
		}
	}
}
