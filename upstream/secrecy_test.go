package upstream

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/bounded"
)

// realisticRefusals are what APIs say of a contact, with whom and what they name.
var realisticRefusals = []struct{ text, words string }{
	{"手机号已被王小明使用", ""},
	{"Surname Márquez already exists", "tag=duplicate"},
	{"lastName WEISSMÜLLER is not allowed", "field=lastName"},
	{"Duplicate: Jane Doe (another contact) has +91 244-561-2345", "tag=duplicate"},
	{"phone 244.561.2345 already in use by M\u0061\u0301rquez", "tag=duplicate"},
	{"M&aacute;rquez is not a valid name", ""},
	{`M\u00e1rquez is not a valid name`, ""},
	{"M%C3%A1rquez is not a valid name", ""},
	{"O&#39;Brien' OR 1=1 was blocked", ""},
	{"(244) 561 2345 must be unique", "tag=duplicate"},
	{"２４４５６１２３４５ は既に登録されています", ""},
	{"٢٤٤٥٦١٢٣٤٥ مسجل بالفعل باسم فاطمة", ""},
	{"+44 (0) 20 7946 0958 is required for Zoë", "tag=required"},
	{"E11000 duplicate key error collection: crm.contacts index: phone dup key: { phone: \"2445612345\" }", "identifier=E11000 tag=duplicate"},
	{"GARCIA", ""},
	{"ValidationError: cellPhone.phoneNumber: 2445612345 is not a number", "identifier=ValidationError field=cellPhone field=phoneNumber"},
	{"CastError: Cast to ObjectId failed for value \"Иван Петров\" at path \"_id\"", "identifier=CastError"},
	{"DUPLICATE_VALUE: Βασίλης", "identifier=DUPLICATE_VALUE tag=duplicate"},
	{"Permission denied. Scope is incorrect!", "sentence=scope_incorrect"},
	{"  invalid   StreamId. ", "sentence=invalid_stream_id"},
	{"Invalid StreamId 2445612345", ""},
	{"You’ve exceeded the per-minute rate limit. Please wait for sometime before retrying.", "sentence=rate_limit"},
	{"The record of โสภา ใจดี has expired", "tag=expired"},
	{"Not Found", "sentence=not_found"},
	{"Account Closed", "sentence=closed"},
}

// saidOf is the outcome of the only row, or of the request as a whole.
func saidOf(r contactsync.Result) contactsync.Outcome {
	if len(r.Rows) > 0 {
		return r.Rows[0]
	}
	return contactsync.Outcome{Reason: r.Detail, Text: r.Text}
}

// Of what an API says only words of our own are written, and the text itself is kept.
func TestSend_RefusalsAreNotQuoted(t *testing.T) {
	t.Parallel()
	var text string
	host := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		quoted, _ := json.Marshal(text) // of a string: it cannot fail
		_, _ = fmt.Fprintf(w, `{"failedRecords":[{"id":"a","reason":%s}]}`, quoted)
	})
	key := filepath.Join(t.TempDir(), "key")
	writeFile(t, key, "the key of the hashes")
	client := func() *testClient {
		return newTestClient(t, host, func(cfg *Config, _ *Deps) {
			cfg.Answer.Known, cfg.Answer.HashKeyFile = []string{"closed = account CLOSED!"}, key
		})
	}
	c, other := client(), client()
	hashes := map[string]bool{}
	for _, refusal := range realisticRefusals {
		text = refusal.text
		got := saidOf(c.Send(t.Context(), batchOf("a")))
		words, hash, _ := strings.Cut(" "+got.Reason, " text=")
		if strings.TrimSpace(words) != refusal.words || len(hash) != 8 || hashes[hash] {
			t.Errorf("%q: %q, want %q and a hash of its own", text, got.Reason, refusal.words)
		}
		hashes[hash] = true
		if got.Text.Reveal() != strings.TrimSpace(text) {
			t.Errorf("%q is kept as %q", text, got.Text.Reveal())
		}
		if again := saidOf(other.Send(t.Context(), batchOf("a"))); again.Reason != got.Reason {
			t.Errorf("%q: with the same key %q and %q", text, got.Reason, again.Reason)
		}
	}
	if mine, own := c.speaker.hash("Jane Doe"), newTestClient(t, host, nil).speaker.hash("Jane Doe"); mine == own {
		t.Error("a process without a key file has the key of another")
	}
}

// Numbers of an answer may be those of a telephone, and its headers may have any text.
func TestSend_NumbersAndHeadersAreNotQuoted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status     int
		body, want string
	}{
		{200, `{"totalRequested":2445612345,"successful":2445612345,"failed":-2445612345,"failedRecords":[{"id":"b"}]}`, "implausibly many requested"},
		{200, `{"failedRecords":[{"id":"a","reason":"no","code":"2445","status":409}]}`, "code=409 text="},
		{400, `{"errors":[{"msg":"no","code":24456}]}`, "type=other bytes=38"},
		{400, `{"errors":[{"msg":"no","code":4002}]}`, "server=other code=4002"},
	} {
		host := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Server", "Zebulon/2445612345")
			w.Header().Set("Content-Type", "zebulon/2445612345")
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		})
		got := newTestClient(t, host, nil).Send(t.Context(), batchOf("a"))
		written := strings.ToLower(fmt.Sprintf("%+v", got))
		if strings.Contains(written, "2445") || strings.Contains(written, "zebulon") || !strings.Contains(written, test.want) {
			t.Errorf("%s: %s", test.body, written)
		}
	}
}

// What the host sent names people too where it is no answer: errors of net/http quote it.
func TestSend_ErrorsOfLibrariesAreNotQuoted(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"Zebulon 2445612345\r\n\r\n",
		"HTTP/1.1 Zebulon 2445612345\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: Zebulon\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: Zebulon\r\n\r\n",
		"HTTP/1.1 200 OK\r\nZebulon\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZebulon\r\n\r\n",
		"HTTP/1.1 302 Found\r\nLocation: http://zebulon.test/%zz2445612345\r\n\r\n",
		"HTTP/1.1 299 Zebulon\r\nContent-Length: 0\r\n\r\n",
	} {
		host, _ := rawServer(t, func(conn net.Conn) {
			readRequest(conn)
			_, _ = io.WriteString(conn, raw)
		})
		c := newTestClient(t, host, nil)
		got := c.Send(t.Context(), batchOf("a"))
		if written := strings.ToLower(got.Detail + c.log.String()); strings.Contains(written, "zebulon") || strings.Contains(written, "2445612345") || got.Detail == "" {
			t.Errorf("%q: %q", raw, written)
		}
	}
}

// A server may quote what it was sent in any form, and none leaves a part of a secret.
func TestOurs_StripSecrets(t *testing.T) {
	t.Parallel()
	const secret = `se"cret/with+signs=&blank-0123456789`
	token := "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." + strings.Repeat("cGF5", 20) + "." + strings.Repeat("c2ln", 10)
	o := &ours{secrets: []string{token, secret, "", "short"}}
	inJSON, _ := json.Marshal(secret) // of a string: it cannot fail
	for _, quoted := range []string{
		token, secret, token[:40], token[len(token)-40:], url.QueryEscape(secret), url.PathEscape(secret), strings.Trim(string(inJSON), `"`),
		hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(token))),
		base64.StdEncoding.EncodeToString([]byte(token)), base64.URLEncoding.EncodeToString([]byte("user:" + secret)), base64.RawStdEncoding.EncodeToString([]byte("x" + secret + "x")),
		token[:20] + "\n  " + token[20:70] + "\r\n\t" + token[70:], // wrapped over lines
	} {
		got := o.strip("Zebulon: " + quoted + " was refused")
		rest, ok := strings.CutPrefix(got, "Zebulon: ")
		if !ok || len(rest) > 30 || !strings.HasSuffix(rest, " was refused") && !strings.HasSuffix(rest, "*was refused") {
			t.Errorf("%q became %q", quoted, got)
		}
	}
	if got := o.strip("a short refusal of\nJane"); got != "a short refusal of\nJane" {
		t.Errorf("got %q", got)
	}
}

// A bug in the reading of an answer harms that answer alone, and is told without its words.
func TestSend_SurvivesABugInTheReadingOfAnAnswer(t *testing.T) {
	t.Parallel()
	b := batchOf("a")
	status := http.StatusOK
	host := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"failedRecords":[{"id":"a","reason":"Zebulon is taken"}]}`)
	})
	c := newTestClient(t, host, nil)
	whole := c.answers
	for _, status = range []int{http.StatusOK, http.StatusMultiStatus, http.StatusBadRequest} {
		c.answers = nil
		got := c.Send(t.Context(), b)
		if len(got.Rows) > 0 || got.Status != status || !strings.HasPrefix(got.Detail, fmt.Sprint(status, ": BUG: reading the answer panicked: runtime error: invalid memory address")) ||
			!strings.Contains(got.Detail, ".go:") || got.Text.Reveal() != "" {
			t.Errorf("%d: %+v", status, got)
		}
		if status == http.StatusOK && got.Kind != contactsync.Unavailable {
			t.Errorf("it counts as %v", got.Kind)
		}
		c.answers = whole
		if got := c.Send(t.Context(), b); got.Kind != contactsync.Answered {
			t.Errorf("%d: the next answer: %+v", status, got)
		}
	}
}

func TestConfig_KnownSentences(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	cfg.Answer.Known = []string{"taken = Number is taken.", "no name", "=message", "empty= .", "two words=x"}
	var found []string
	for _, p := range cfg.Validate() {
		if strings.HasPrefix(p.Key, "answer.") {
			found = append(found, p.Key)
		}
	}
	if got := strings.Join(found, " "); got != "answer.known[1] answer.known[2] answer.known[3] answer.known[4]" {
		t.Errorf("refused are %s", got)
	}
}

// Whoever guesses the key of the hashes can try names against them.
func TestConfig_KeyOfHashes(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	dir := t.TempDir()
	for name, refused := range map[string]bool{"none": true, "seven77": true, "eight888": false} {
		cfg.Answer.HashKeyFile = filepath.Join(dir, name)
		if name != "none" {
			writeFile(t, cfg.Answer.HashKeyFile, name)
		}
		problems := cfg.CheckFiles()
		if refused != (len(problems) == 1) || refused && problems[0].Key != "answer.hash_key_file" {
			t.Errorf("%s: found %+v", name, problems)
		}
	}
	cfg.Answer.HashKeyFile = filepath.Join(dir, "eight888")
	if err := os.Chmod(cfg.Answer.HashKeyFile, 0o644); err == nil {
		if found := cfg.Weaknesses(); len(found) != 1 || found[0].Key != "answer.hash_key_file" {
			t.Errorf("found %+v", found)
		}
	}
}

func FuzzStrip(f *testing.F) {
	f.Add("no canary-secret-0123456789abcdef of Zebulon")
	f.Add("can ary-secret-0\n123\xff456789abcdef")
	f.Fuzz(func(t *testing.T, text string) {
		defer bounded.Within(t, 1<<20+100*len(text))()
		got := (&ours{secrets: []string{testSecret}}).strip(text)
		if strings.Contains(strings.Join(strings.Fields(got), ""), testSecret[:secretPrefix]) {
			t.Fatalf("the secret is in %q", got)
		}
		if len(got) > 3*len(text) {
			t.Fatalf("%d bytes became %d", len(text), len(got))
		}
	})
}
