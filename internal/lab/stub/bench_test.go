package stub

import (
	"fmt"
	"net/http/httptest"
	"testing"
)

// The stub shares two cores with what it judges: it must stay below two
// microseconds a row, of which reading the row is the larger part.
func BenchmarkServeHTTP(b *testing.B) {
	const rows = 500
	s := newServer(b, func(c *Config) { c.KeepRows = 0 })
	all := make([]string, rows)
	for i := range all {
		all[i] = contactJSON(fmt.Sprintf("6964af60450340957c%06x", i), 1)
	}
	body := array(all...)
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, request(b, "st-0001", body))
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
}
