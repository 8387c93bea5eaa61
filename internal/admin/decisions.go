package admin

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
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

// Paths that take one about a stream on hold: its parameters stream and account name it,
// and the latter may be left out where the stream lies in one account only.
const (
	// ReleaseHoldPath has it tried at once.
	ReleaseHoldPath = "/hold/release"
	// SetHoldAsidePath has its contacts become dead letters; reason is the operator's own.
	SetHoldAsidePath = "/hold/set-aside"
)

// decision answers 202 where decide takes an operator's decision, and otherwise why it
// does not. The port is open to whoever may scrape it, so a decision must come from the
// machine itself: from the replica's pod, or through a forwarded port, which is a right of
// its own. A page of another site that is open in a browser there is none, also where a
// name of that site leads to this machine.
func decision(decide func(r *http.Request) error) http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ownMachine(r) {
			http.Error(w, "decisions are taken from the replica's own machine only: run the command in its pod, or forward its port", http.StatusForbidden)
			return
		}
		switch err := decide(r); {
		case errors.Is(err, errIncomplete):
			http.Error(w, err.Error(), http.StatusBadRequest)
		case err != nil:
			http.Error(w, err.Error(), http.StatusConflict)
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	}))
}

// ownMachine reports whether a request comes from this machine, and means it by its name. One that a
// proxy on this machine says it has forwarded comes from somebody else, whatever it carries.
func ownMachine(r *http.Request) bool {
	return loopback(r.RemoteAddr) && loopback(r.Host) && !slices.ContainsFunc(forwarded, func(name string) bool { return r.Header[name] != nil })
}

// forwarded are the headers by which proxies say that they pass on a request.
var forwarded = []string{"Forwarded", "Via", "X-Envoy-External-Address", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"}

// loopback reports whether an address names the machine itself.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// errIncomplete says that a decision lacks what it is about.
var errIncomplete = errors.New("the decision lacks a parameter")

// partitionDecision is one about a partition. Its numbers are parameters by name, each of
// which must be there.
func partitionDecision(numbers []string, decide func(p contactsync.TopicPartition, n map[string]int64, r *http.Request) error) http.Handler {
	return decision(func(r *http.Request) error {
		partition, err := strconv.ParseInt(r.FormValue("partition"), 10, 32)
		n := map[string]int64{}
		for _, name := range numbers {
			if err == nil {
				n[name], err = strconv.ParseInt(r.FormValue(name), 10, 64)
			}
		}
		if err != nil {
			return fmt.Errorf("%w: partition and the other numbers must be there: %w", errIncomplete, err)
		}
		return decide(contactsync.TopicPartition{Topic: r.FormValue("topic"), Partition: int32(partition)}, n, r)
	})
}

// holdDecision is one about a stream on hold.
func holdDecision(decide func(account, stream string, r *http.Request) error) http.Handler {
	return decision(func(r *http.Request) error {
		stream := r.FormValue("stream")
		if stream == "" {
			return fmt.Errorf("%w: stream must be there", errIncomplete)
		}
		return decide(r.FormValue("account"), stream, r)
	})
}

func setAside(decide func(p contactsync.TopicPartition, first, last int64) error) http.Handler {
	return partitionDecision([]string{"first", "last"}, func(p contactsync.TopicPartition, n map[string]int64, _ *http.Request) error {
		return decide(p, n["first"], n["last"])
	})
}

func resumeFeed(decide func(p contactsync.TopicPartition, records int64, untilReadable bool) error) http.Handler {
	return partitionDecision([]string{"records"}, func(p contactsync.TopicPartition, n map[string]int64, r *http.Request) error {
		return decide(p, n["records"], r.FormValue("until_readable") == "true")
	})
}

func releaseHold(decide func(account, stream string) error) http.Handler {
	return holdDecision(func(account, stream string, _ *http.Request) error { return decide(account, stream) })
}

func setHoldAside(decide func(account, stream, reason string) error) http.Handler {
	return holdDecision(func(account, stream string, r *http.Request) error {
		return decide(account, stream, r.FormValue("reason"))
	})
}
