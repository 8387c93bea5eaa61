package upstream

import (
	"strings"
	"testing"
)

func TestBodyText(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 20) + `"deep"` + strings.Repeat("]", 20)
	long := strings.Repeat("a", maxText)
	for _, tt := range []struct{ body, want string }{
		{"", ""},
		{" plain \n text\t", "plain text"},
		{`{"errors":[{"msg":"Invalid StreamId","code":400}]}`, "Invalid StreamId (code 400)"},
		{`{"errors":["one","two","one"]}`, "one; two"},
		{`{"error":{"code":"bad","description":"no such field"}}`, "no such field"}, // a code is a number
		{`{"message":"no","statusCode":"4002","customCode":17,"code":17}`, "no (code 4002, 17)"},
		{`{"message":"no","code":123456789}`, "no"},  // too long for a status
		{`{"name":"Zebulon","message":"no"}`, "no"},  // other members are not quoted
		{`{"name":"Zebulon"}`, `{"name":"Zebulon"}`}, // without a message all is
		{`{"message":"cut`, `{"message":"cut`},       // likewise if it is not JSON
		{`[{"message":"first"},{"error":["second"]}]`, "first; second"},
		{`{"error":` + deep + `,"msg":"no"}`, "no"},
		{`{"error":"` + long + `","msg":"no"}`, long},
		{long + "b", long},
	} {
		if got := bodyText([]byte(tt.body)); got != tt.want {
			t.Errorf("%.80q: got %.80q, want %.80q", tt.body, got, tt.want)
		}
	}
}
