package admin

import (
	"net"
	"net/http"
	"strconv"

	"github.com/contactsync/contactsync"
)

// SetAsidePath takes an operator's decision by POST: the parameters topic, partition,
// first and last name a batch.
const SetAsidePath = "/set-aside"

// setAside answers 202 where the decision is taken, and otherwise why it is not. The port
// is open to whoever may scrape it, so a decision must come from the machine itself: from
// the replica's pod, or through a forwarded port, which is a right of its own.
func setAside(decide func(p contactsync.TopicPartition, first, last int64) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			http.Error(w, "decisions are taken from the replica's own machine only: run the command in its pod, or forward its port", http.StatusForbidden)
			return
		}
		partition, err1 := strconv.ParseInt(r.FormValue("partition"), 10, 32)
		first, err2 := strconv.ParseInt(r.FormValue("first"), 10, 64)
		last, err3 := strconv.ParseInt(r.FormValue("last"), 10, 64)
		if err1 != nil || err2 != nil || err3 != nil {
			http.Error(w, "partition, first and last must be numbers", http.StatusBadRequest)
			return
		}
		if err := decide(contactsync.TopicPartition{Topic: r.FormValue("topic"), Partition: int32(partition)}, first, last); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
}
