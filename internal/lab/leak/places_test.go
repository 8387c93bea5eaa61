package leak

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"html"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/contactsync/contactsync/internal/terminal"
)

// place writes what leaks there as the service would. Most places take text only: what is not
// UTF-8 is lost in them.
type place struct {
	name  string
	write func(t *testing.T, texts []string) []byte
	bytes bool // it takes what is no text
}

// lines is a place that writes one text at a time.
func lines(write func(text string) string) func(*testing.T, []string) []byte {
	return func(_ *testing.T, texts []string) []byte {
		var b bytes.Buffer
		for _, text := range texts {
			b.WriteString(write(text) + "\n")
		}
		return b.Bytes()
	}
}

// logged is a place of the log, which goes through the terminal's escapes.
func logged(handler func(*terminal.Writer) slog.Handler, write func(log *slog.Logger, text string)) func(*testing.T, []string) []byte {
	return func(_ *testing.T, texts []string) []byte {
		var b bytes.Buffer
		log := slog.New(handler(terminal.NewWriter(&b)))
		for _, text := range texts {
			write(log, text)
		}
		return b.Bytes()
	}
}

func inJSONLog(w *terminal.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) }
func inTextLog(w *terminal.Writer) slog.Handler { return slog.NewTextHandler(w, nil) }

// marshaled is JSON as /api/status and the events of the page have it.
func marshaled(content any, options ...json.Options) string {
	text, err := json.Marshal(content, append(options, jsontext.AllowInvalidUTF8(true))...)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// scraped is what Prometheus gets of labels.
func scraped(accept string) func(*testing.T, []string) []byte {
	return func(t *testing.T, texts []string) []byte {
		t.Helper()
		registry := prometheus.NewRegistry()
		series := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "planted_total", Help: "Of texts."}, []string{"text"})
		registry.MustRegister(series)
		for _, text := range texts {
			series.WithLabelValues(text).Inc()
		}
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody)
		req.Header.Set("Accept", accept)
		res := httptest.NewRecorder()
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(res, req)
		return res.Body.Bytes()
	}
}

// labeled is a profile of goroutines with labels.
func labeled(t *testing.T, texts []string) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, text := range texts {
		pprof.Do(t.Context(), pprof.Labels("answer", text), func(context.Context) {
			if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
				t.Error(err)
			}
		})
	}
	return b.Bytes()
}

func onTerminal(cell func(string) string) func(*testing.T, []string) []byte {
	return func(_ *testing.T, texts []string) []byte {
		var b bytes.Buffer
		w := tabwriter.NewWriter(terminal.NewWriter(&b), 0, 0, 2, ' ', 0)
		for _, text := range texts {
			fmt.Fprintf(w, "contacts/2@3489\t%s\trejected\n", cell(text))
		}
		_ = w.Flush() // to a buffer
		return b.Bytes()
	}
}

var places = []place{
	{"log in JSON", logged(inJSONLog, func(log *slog.Logger, text string) { log.Error("stream is on hold", "detail", text) }), false},
	{"log in JSON, message", logged(inJSONLog, func(log *slog.Logger, text string) { log.Error(text) }), false},
	{"log in JSON, name", logged(inJSONLog, func(log *slog.Logger, text string) { log.Error("", text, 1) }), false},
	{"log in JSON, bytes", logged(inJSONLog, func(log *slog.Logger, text string) { log.Error("", "value", []byte(text)) }), true},
	{"log in JSON, error that quotes", logged(inJSONLog, func(log *slog.Logger, text string) {
		log.Error("", "err", fmt.Errorf("read %q: %w", text, errors.New("no")))
	}), false},
	{"log as text", logged(inTextLog, func(log *slog.Logger, text string) { log.Error("stream is on hold", "detail", text) }), false},
	{"log as text, error that quotes", logged(inTextLog, func(log *slog.Logger, text string) {
		log.Error("", "err", fmt.Errorf("read %q: %w", text, errors.New("no")))
	}), false},
	{"log as text, struct", logged(inTextLog, func(log *slog.Logger, text string) { log.Error("", "row", struct{ Body []byte }{[]byte(text)}) }), true},
	{"status", lines(func(text string) string {
		return marshaled(map[string]string{"detail": text}, jsontext.WithIndent("  "))
	}), false},
	{"status, name of a member", lines(func(text string) string { return marshaled(map[string]int{text: 1}) }), false},
	{"event of the page", lines(func(text string) string { return "data: " + marshaled([]string{text}) + "\n" }), false},
	{"page", lines(func(text string) string { return "<td><bdi>" + html.EscapeString(text) + "</bdi></td>" }), false},
	{"page, address in it", lines(func(text string) string {
		return `<a href="/api/explain?` + html.EscapeString(url.Values{"x": {text}}.Encode()) + `&amp;y=1">`
	}), true},
	{"metric label", scraped(""), false},
	{"metric label, OpenMetrics", scraped("application/openmetrics-text;version=1.0.0"), false},
	{"panic", lines(func(text string) string { return "panic: " + text + "\n\ngoroutine 1 [running]:" }), true},
	{"panic of a struct", lines(func(text string) string { return fmt.Sprintf("panic: main.T{Text:%q, Bytes:%#v}", text, []byte(text)) }), true},
	{"header of a request", lines(func(text string) string { return fmt.Sprintf("PUT / HTTP/1.1\r\nX-Name: %s\r\n\r\n", text) }), true},
	{"headers as Go prints them", lines(func(text string) string { return fmt.Sprintf("%q", http.Header{"X-Name": {text}}) }), false},
	{"line of a request", lines(func(text string) string { return "GET /?" + url.Values{"name": {text}}.Encode() }), true},
	{"label of a profile", labeled, false},
	{"terminal", onTerminal(func(text string) string { return strings.Map(printable, text) }), false},
	{"terminal, quoted", onTerminal(strconv.Quote), false},
}

// printable leaves out what ends a cell of a table.
func printable(r rune) rune {
	if r == '\t' || r == '\n' || r == '\v' || r == '\f' {
		return -1
	}
	return r
}

var all = flag.Bool("leak.all", false, "plant each text in each spelling at each place, which takes a minute; in a fourth of the spellings at each place by turns otherwise")

// In a build that leaks a text in some encoding at some place, the search finds it.
func TestSearch_FindsEachTextInEachEncodingAtEachPlace(t *testing.T) {
	t.Parallel()
	tried := 0
	for turn, p := range places {
		for i, name := range slices.Sorted(maps.Keys(writers)) {
			if !p.bytes && strings.HasPrefix(name, "UTF-16") || !*all && (turn+i)%4 != 0 {
				continue
			}
			var texts []string
			for _, text := range Planted() {
				texts = append(texts, writers[name](text))
			}
			found := Search(append([]byte(noise), p.write(t, texts)...))
			for i, text := range Planted() {
				if tried++; !slices.ContainsFunc(found, func(f Found) bool { return f.Text == text }) {
					t.Errorf("%s, %s: %q is not found, written as %.60q", p.name, name, text, texts[i])
					break
				}
			}
		}
	}
	t.Logf("%d texts at %d places in %d spellings", tried, len(places), len(writers))
}
