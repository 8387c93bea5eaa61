package stub

import (
	"html/template"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/goccy/go-yaml"
)

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats", s.statsPage)
	mux.HandleFunc("GET /stats.json", func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, s.Stats()) })
	mux.HandleFunc("GET /state.json", func(w http.ResponseWriter, r *http.Request) {
		if stream := r.URL.Query().Get("stream"); stream != "" {
			sendJSON(w, s.stream(stream).seqs())
			return
		}
		sendJSON(w, s.State())
	})
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) {
		s.Reset()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /fault", func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, s.script.list()) })
	mux.HandleFunc("POST /fault", s.postFault)
	return mux
}

// RuleState is a rule as /fault lists it.
type RuleState struct {
	Name  string `json:"name"`
	Off   bool   `json:"off"`
	Fired int    `json:"fired"`
}

func (s *script) list() []RuleState {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]RuleState, len(s.rules))
	for i, r := range s.rules {
		all[i] = RuleState{r.Name, r.Off, r.fired}
	}
	return all
}

// postFault takes a rule as YAML or JSON, or switches the one that the query names.
func (s *Server) postFault(w http.ResponseWriter, r *http.Request) {
	if name := r.URL.Query().Get("name"); name != "" {
		off, err := strconv.ParseBool(r.URL.Query().Get("off"))
		if err != nil {
			http.Error(w, "off must be true or false", http.StatusBadRequest)
			return
		}
		if !s.Turn(name, !off) {
			http.Error(w, "there is no rule of that name", http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	var rule Rule
	if err == nil {
		err = yaml.UnmarshalWithOptions(text, &rule, yaml.Strict())
	}
	if err == nil {
		err = s.Put(rule)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func sendJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	send(w, http.StatusOK, "application/json", body)
}

const statsHTML = `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="1">
<title>stub</title><style>
body{font:16px system-ui,sans-serif;margin:2rem auto;max-width:46rem;padding:0 1rem;color:#1a1a1a;background:#fff}
table{border-collapse:collapse;width:100%;margin-bottom:2rem}td{padding:.25rem .5rem;border-bottom:1px solid #ddd}
td+td{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#b00020;font-weight:600}
@media(prefers-color-scheme:dark){body{color:#eee;background:#111}td{border-color:#333}.bad{color:#ff8a80}}
</style></head><body><h1>Stub of the bulk-update API</h1>
{{range .}}<h2>{{.Title}}</h2><table>{{range .Lines}}<tr{{if .Bad}} class="bad"{{end}}><td>{{.Name}}</td><td>{{.Value}}</td></tr>{{end}}</table>
{{end}}</body></html>`

type statsTable struct {
	Title string
	Lines []statsLine
}

type statsLine struct {
	Name  string
	Value any
	Bad   bool
}

func (s *Server) statsPage(w http.ResponseWriter, _ *http.Request) {
	var page strings.Builder
	err := template.Must(template.New("stats").Parse(statsHTML)).Execute(&page, s.Stats().tables(s.script.list()))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	send(w, http.StatusOK, "text/html; charset=utf-8", []byte(page.String()))
}

func (n Stats) tables(rules []RuleState) []statsTable {
	never := func(name string, v int64) statsLine { return statsLine{name, v, v > 0} }
	work := statsTable{"Work", []statsLine{
		{"seconds up", int64(n.Seconds), false},
		{"calls", n.Calls, false},
		{"rows", n.Rows, false},
		{"rows applied", n.AppliedRows, false},
		{"contacts", n.Contacts, false},
		{"in flight", n.InFlight, false},
		{"most in flight", n.MaxInFlight, false},
		{"applied late", n.LateRows, false},
		{"applied late, over newer", n.LateBack, false},
	}}
	faults := statsTable{"What a correct client never does", []statsLine{
		never("older state after a newer one", n.OutOfOrder), never("contact in two calls at a time", n.Overlaps),
		never("contact twice in one call", n.NamedTwice), never("call for another account's stream", n.CrossTalk),
		never("unreadable body", n.Unreadable), never("above the rate limit", n.RateRefused),
		{"same state again", n.Duplicates, false},
		{"row with a wrong or missing member", n.Invalid, false},
		{"call too large", n.TooLarge, false},
	}}
	answers := statsTable{Title: "Answers"}
	for _, status := range slices.Sorted(maps.Keys(n.Statuses)) {
		name := "none"
		if status > 0 {
			name = strconv.Itoa(status) + " " + http.StatusText(status)
		}
		answers.Lines = append(answers.Lines, statsLine{name, n.Statuses[status], false})
	}
	script := statsTable{Title: "Scenario"}
	for _, r := range rules {
		name := r.Name
		if r.Off {
			name += " (off)"
		}
		script.Lines = append(script.Lines, statsLine{name, r.Fired, false})
	}
	return []statsTable{work, faults, answers, script}
}
