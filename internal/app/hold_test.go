package app_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// TestService_HoldsAStreamInSight puts a stream on hold for want of it at the API,
// beside another one of the same partition, and sees it end.
func TestService_HoldsAStreamInSight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.cfg.Batcher.BackoffMin, w.cfg.Batcher.HoldProbeMax = 20*time.Millisecond, 200*time.Millisecond
	if err := w.api.Put(stub.Rule{Name: "gone", Match: stub.Match{Streams: []string{"st-gone"}}, Answer: &stub.Answer{Status: 404}}); err != nil {
		t.Fatal(err)
	}
	reg, stop := w.replica(app.Options{})
	for i := range 20 {
		w.produce("one partition for all", contact("st-gone", fmt.Sprint("c", i%3), i))
		w.produce("one partition for all", contact("st-good", fmt.Sprint("c", i%3), i))
	}
	good := func() bool { return len(w.api.State()["st-good"]) == 3 && w.api.State()["st-good"]["c1"] == 19 }
	w.until("the other stream to be delivered", good)
	var page string
	w.until("/status to show the hold with all its contacts", func() bool {
		page = w.get("/status")
		return strings.Contains(page, `"stream_gone"`) && strings.Contains(page, `"contacts": 3`)
	})
	for _, want := range []string{`"stream": "st-gone"`, `"status": 404`, `"state": "ready"`, `"version": "test"`} {
		if !strings.Contains(page, want) {
			t.Errorf("/status lacks %s:\n%s", want, page)
		}
	}
	if strings.Contains(page, "Doe") || strings.Contains(page, stub.LabSecret) {
		t.Errorf("I11: /status shows what is nobody's business:\n%s", page)
	}
	if w.committed() >= 40 {
		t.Errorf("I2: all is committed although a stream is on hold")
	}
	w.api.Turn("gone", false)
	w.until("all offsets to be committed", func() bool { return w.committed() == 40 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(reg, "contactsync_batcher_streams_on_hold"); err != nil || n != 3 {
		t.Errorf("%d series of streams on hold, %v", n, err)
	}
	if st := w.api.Stats(); st.OutOfOrder != 0 || st.Duplicates != 0 {
		t.Errorf("violations: %+v", st)
	}
}

// get asks the replica that was started last.
func (w *world) get(path string) string {
	w.t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	res, err := client.Get("http://" + w.addr + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(body)
}
