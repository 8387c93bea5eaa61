package upstream

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/bounded"
)

// badAnswer is one line of testdata/answers/answers.jsonl.
type badAnswer struct {
	Name       string            `json:"name"`
	Status     int               `json:"status"`
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body"`
	Rows       []string          `json:"rows"`
	Kind       string            `json:"kind"`
	Verdicts   string            `json:"verdicts"`  // a letter for each row: D, F, U
	Transient  string            `json:"transient"` // a letter for each row: T or -
	Reason     *string           `json:"reason"`    // of the last row, as the API wrote it
	Detail     string            `json:"detail"`    // contained in it, or in the text
	RetryAfter int64             `json:"retry_after_ms"`
	Ambiguous  bool              `json:"ambiguous"`
}

func readAnswers(t testing.TB) []badAnswer {
	t.Helper()
	f, err := os.Open("testdata/answers/answers.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var all []badAnswer
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var a badAnswer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		all = append(all, a)
	}
	if err := lines.Err(); err != nil || len(all) < 100 {
		t.Fatalf("read %d answers: %v", len(all), err)
	}
	return all
}

func verdicts(rows []contactsync.Outcome) (verdicts, transient string) {
	for _, o := range rows {
		verdicts += map[contactsync.Verdict]string{
			contactsync.Delivered: "D", contactsync.Failed: "F", contactsync.Unresolved: "U", contactsync.Contradicted: "C",
		}[o.Verdict]
		if o.Transient {
			transient += "T"
		} else {
			transient += "-"
		}
	}
	return verdicts, transient
}

func TestSend_Answers(t *testing.T) {
	t.Parallel()
	all := readAnswers(t)
	byName := map[string]badAnswer{}
	for _, a := range all {
		byName[a.Name] = a
	}
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		a := byName[r.Header.Get("User-Agent")]
		for name, value := range a.Headers {
			w.Header().Set(name, value)
		}
		w.WriteHeader(a.Status)
		_, _ = w.Write([]byte(a.Body))
	})
	for _, a := range all {
		t.Run(a.Name, func(t *testing.T) {
			t.Parallel()
			c := newTestClient(t, host, nil)
			c.agent = a.Name
			got := c.Send(t.Context(), batchOf(a.Rows...))
			if got.Kind.String() != a.Kind || got.Status != a.Status || got.Ambiguous != a.Ambiguous {
				t.Fatalf("got %v, status %d, ambiguous %v, want %s, %d, %v; detail %q",
					got.Kind, got.Status, got.Ambiguous, a.Kind, a.Status, a.Ambiguous, got.Detail)
			}
			v, transient := verdicts(got.Rows)
			if v != a.Verdicts {
				t.Errorf("got verdicts %q, want %q; detail %q", v, a.Verdicts, got.Detail)
			}
			if a.Transient != "" && transient != a.Transient {
				t.Errorf("got transient %q, want %q: %+v", transient, a.Transient, got.Rows)
			}
			if a.Reason != nil && got.Rows[len(got.Rows)-1].Text.Reveal() != *a.Reason {
				t.Errorf("got reason %q, want %q", got.Rows[len(got.Rows)-1].Text.Reveal(), *a.Reason)
			}
			if !strings.Contains(got.Detail+got.Text.Reveal(), a.Detail) {
				t.Errorf("got detail %q and text %q, want %q in one", got.Detail, got.Text.Reveal(), a.Detail)
			}
			if got.RetryAfter != time.Duration(a.RetryAfter)*time.Millisecond {
				t.Errorf("got retry after %v, want %dms", got.RetryAfter, a.RetryAfter)
			}
			if len(got.Detail) > 500 {
				t.Errorf("detail has %d bytes", len(got.Detail))
			}
		})
	}
}

func TestAnswers_ConfiguredPaths(t *testing.T) {
	t.Parallel()
	a := newAnswerReader(Answer{
		SuccessIDs: []string{"who.key"}, FailureIDs: []string{"where.list.key"},
		Reasons: []string{"why.text"}, Transient: []string{"mOOn"},
	}, testSpeaker)
	body := `{"successfulRecords":[{"id":"b","who":{"key":"a"}}],
		"failedRecords":[{"where":{"list":[{"other":1},{"key":"b"}]},"why":{"text":"full Moon","more":"x"}}]}`
	got, err := a.read([]byte(body), batchOf("a", "b").Rows, &ours{})
	if err != nil {
		t.Fatal(err)
	}
	v, transient := verdicts(got.rows)
	if v != "DF" || transient != "-T" || got.rows[1].Text.Reveal() != "full Moon" {
		t.Errorf("got %s %s %+v", v, transient, got.rows)
	}
}

// What an answer states about rows is in testdata/answers; these are the answers
// that come close to delivering a row and do not.
func TestAnswers_DoubtDeliversNothing(t *testing.T) {
	t.Parallel()
	a := newAnswerReader(defaultAnswer(), testSpeaker)
	for _, tt := range []struct{ name, body, verdicts string }{
		{"all counters", `{"totalRequested":2,"successful":2,"failed":0}`, "DD"},
		{"a counter occurs twice", `{"totalRequested":2,"successful":2,"failed":1,"failed":0}`, "CC"},
		{"a list occurs twice", `{"totalRequested":2,"successful":2,"failed":0,"successfulRecords":[],"successfulRecords":[]}`, "CC"},
		{"more requested than sent", `{"totalRequested":3,"successful":2,"failed":0}`, "CC"},
		{"a counter is null", `{"totalRequested":2,"successful":2,"failed":null}`, "CC"},
		{"a counter is a string", `{"totalRequested":2,"successful":2,"failed":"0"}`, "CC"},
		{"a counter is missing", `{"totalRequested":2,"successful":2}`, "CC"},
		{"a record names both rows, and another one of them", `{"successfulRecords":[{"id":"a","contact":{"_id":"b"}},{"id":"a"}]}`, "CC"},
		{"one row is named by both ids", `{"successfulRecords":[{"id":"a","contact":{"_id":"a"}},{"id":"b","contact":{"_id":"x"}}]}`, "DD"},
		{"bytes that are not UTF-8", "{\"successfulRecords\":[{\"id\":\"a\",\"contact\":{\"firstName\":\"\xff\"}}]}", "DU"},
	} {
		got, err := a.read([]byte(tt.body), batchOf("a", "b").Rows, &ours{})
		if v, _ := verdicts(got.rows); err != nil || v != tt.verdicts {
			t.Errorf("%s: got %s, %v, want %s", tt.name, v, err, tt.verdicts)
		}
	}
}

// A member of the contact that is called like a status is the contact's.
func TestAnswers_CodesWithinTheContactAreNotQuoted(t *testing.T) {
	t.Parallel()
	a := newAnswerReader(defaultAnswer(), testSpeaker)
	body := `{"failedRecords":[{"id":"a","status":409,"reason":"no","contact":{"_id":"a","code":"4711"}}]}`
	got, err := a.read([]byte(body), batchOf("a").Rows, &ours{})
	if err != nil || got.rows[0].Text.Reveal() != "no (code 409)" {
		t.Errorf("got %+v, %v", got.rows, err)
	}
}

func TestAnswers_DeepNestingIsBounded(t *testing.T) {
	t.Parallel()
	a := newAnswerReader(defaultAnswer(), testSpeaker)
	for _, depth := range []int{20, 500, 1_000_000} {
		deep := strings.Repeat(`{"error":[`, depth) + `"x"` + strings.Repeat("]}", depth)
		got, err := a.read([]byte(`{"failedRecords":[{"id":"a","errors":`+deep+`}]}`), batchOf("a").Rows, &ours{})
		if depth < 1000 && (err != nil || got.rows[0].Verdict != contactsync.Failed || got.rows[0].Reason != "") {
			t.Errorf("depth %d: got %+v, %v", depth, got, err)
		}
		if depth > 10_000 && err == nil {
			t.Errorf("depth %d was read", depth)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, a := range readAnswers(f) {
		f.Add([]byte(a.Body))
	}
	golden, err := os.ReadFile("testdata/answer.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	a := newAnswerReader(defaultAnswer(), testSpeaker)
	rows := batchOf("6964af60450340957c61a2b3", "6964af806fc554153c0d4e5f").Rows
	f.Fuzz(func(t *testing.T, body []byte) {
		defer bounded.Within(t, 1<<20+100*len(body))()
		got, err := a.read(body, rows, &ours{})
		_ = bodyText(body)
		if err != nil {
			if got.rows != nil {
				t.Fatalf("outcomes beside the error %v", err)
			}
			return
		}
		if len(got.rows) != len(rows) {
			t.Fatalf("%d outcomes", len(got.rows))
		}
		var whole map[string]any
		if json.Valid(body) && json.Unmarshal(body, &whole) != nil {
			t.Fatalf("an answer that is no object was understood: %s", body)
		}
		for i, o := range got.rows {
			if len(o.Reason) > 500 || len(o.Text.Reveal()) > 2*maxText {
				t.Fatalf("reason has %d bytes", len(o.Reason))
			}
			// Nothing is delivered that the answer neither counts nor names.
			named := strings.Contains(strings.ToLower(string(body)), rows[i].ID) || strings.Contains(string(body), `\`)
			counted := strings.Contains(string(body), `"totalRequested"`) || strings.Contains(string(body), `\`)
			if o.Verdict == contactsync.Delivered && !named && !counted {
				t.Fatalf("row %d delivered by %s", i, body)
			}
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	golden, err := os.ReadFile("testdata/answer.json")
	if err != nil {
		b.Fatal(err)
	}
	var whole struct {
		SuccessfulRecords []json.RawMessage
	}
	if err := json.Unmarshal(golden, &whole); err != nil {
		b.Fatal(err)
	}
	var record strings.Builder
	line := json.NewEncoder(&record)
	if err := line.Encode(whole.SuccessfulRecords[0]); err != nil {
		b.Fatal(err)
	}
	const n = 500
	one := strings.TrimSpace(record.String())
	list := strings.Repeat(one+",", n-1) + one
	rows := batchOf(make([]string, n)...).Rows
	a := newAnswerReader(defaultAnswer(), testSpeaker)
	for name, failed := range map[string]string{"counters": "0", "rows": "1"} {
		body := []byte(`{"totalRequested":500,"successful":500,"failed":` + failed + `,"successfulRecords":[` + list + `],"failedRecords":[]}`)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := a.read(body, rows, &ours{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
		})
	}
}

// What an answer costs that refuses each of its rows, each in words of its own.
func BenchmarkAnswer_EachRowRefused(b *testing.B) {
	const n = 1000
	var ids []string
	var list []string
	for i := range n {
		ids = append(ids, fmt.Sprintf("contact-%d", i))
		list = append(list, fmt.Sprintf(`{"id":"contact-%d","reason":"Zebulon %d cannot have 244-561-%04d: the number already exists"}`, i, i, i))
	}
	body := []byte(`{"failedRecords":[` + strings.Join(list, ",") + `]}`)
	rows := batchOf(ids...).Rows
	secrets := []string{strings.Repeat("eyJhbGciOiJIUzI1NiJ9", 3) + "." + strings.Repeat("c", 200) + "." + strings.Repeat("d", 43), testSecret}
	a := newAnswerReader(defaultAnswer(), testSpeaker)
	for b.Loop() {
		if _, err := a.read(body, rows, &ours{secrets: secrets}); err != nil {
			b.Fatal(err)
		}
	}
}
