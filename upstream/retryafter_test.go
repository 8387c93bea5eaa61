package upstream

import (
	"net/http"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/lab/bounded"
)

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 9, 9, 35, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "007": 7 * time.Second,
		"-7": 0, "+7": 0, "7.5": 0, "7s": 0, "soon": 0, "1e3": 0, "0x10": 0, "7, 8": 0,
		"86400": 24 * time.Hour, "86401": 24 * time.Hour, "99999999999999999999999": 24 * time.Hour,
		"Fri, 09 Jan 2026 09:35:30 GMT":  30 * time.Second,
		"Friday, 09-Jan-26 09:35:30 GMT": 30 * time.Second,
		"Fri Jan  9 09:35:30 2026":       30 * time.Second,
		"Fri, 09 Jan 2026 09:34:30 GMT":  0,
		"Fri, 09 Jan 9999 09:34:30 GMT":  24 * time.Hour,
		"Fri, 31 Feb 2026 09:35:30 GMT":  0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
	skewed := http.Header{"Retry-After": {"Fri, 09 Jan 2026 10:00:30 GMT"}, "Date": {"Fri, 09 Jan 2026 10:00:00 GMT"}}
	if got := retryAfter(skewed, now); got != 30*time.Second {
		t.Errorf("with the answer's clock: got %v", got)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "0", "7", "-1", "99999999999999999999", "Fri, 09 Jan 2026 09:35:30 GMT", "١٢"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, after, date string) {
		defer bounded.Within(t, 1<<20+100*(len(after)+len(date)))()
		got := retryAfter(http.Header{"Retry-After": {after}, "Date": {date}}, time.Now())
		if got < 0 || got > maxRetryAfter {
			t.Fatalf("%q: got %v", after, got)
		}
	})
}
