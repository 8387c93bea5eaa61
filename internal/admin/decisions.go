package admin

import (
	"net"
	"net/http"
	"strconv"

	"github.com/contactsync/contactsync"
)

// Paths that take an operator's decision by POST. Its parameters topic and partition name
// a partition.
const (
	// SetAsidePath sets a batch aside; first and last are its offsets.
	SetAsidePath = "/set-aside"
	// ResumeFeedPath has a partition go on whose events cannot be read; records is how many
	// pass whatever they are, and until_readable that all do until most can be read.
	ResumeFeedPath = "/feed/resume"
)

// decision answers 202 where decide takes an operator's decision, and otherwise why it
// does not. Its numbers are parameters by name, each of which must be there. The port is
// open to whoever may scrape it, so a decision must come from the machine itself: from the
// replica's pod, or through a forwarded port, which is a right of its own. A page of another
// site that is open in a browser there is none.
func decision(numbers []string, decide func(p contactsync.TopicPartition, n map[string]int64, r *http.Request) error) http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			http.Error(w, "decisions are taken from the replica's own machine only: run the command in its pod, or forward its port", http.StatusForbidden)
			return
		}
		partition, err := strconv.ParseInt(r.FormValue("partition"), 10, 32)
		n := map[string]int64{}
		for _, name := range numbers {
			if err == nil {
				n[name], err = strconv.ParseInt(r.FormValue(name), 10, 64)
			}
		}
		if err != nil {
			http.Error(w, "partition and the other numbers of the decision must be there: "+err.Error(), http.StatusBadRequest)
			return
		}
		if err := decide(contactsync.TopicPartition{Topic: r.FormValue("topic"), Partition: int32(partition)}, n, r); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}))
}

func setAside(decide func(p contactsync.TopicPartition, first, last int64) error) http.Handler {
	return decision([]string{"first", "last"}, func(p contactsync.TopicPartition, n map[string]int64, _ *http.Request) error {
		return decide(p, n["first"], n["last"])
	})
}

func resumeFeed(decide func(p contactsync.TopicPartition, records int64, untilReadable bool) error) http.Handler {
	return decision([]string{"records"}, func(p contactsync.TopicPartition, n map[string]int64, r *http.Request) error {
		return decide(p, n["records"], r.FormValue("until_readable") == "true")
	})
}
