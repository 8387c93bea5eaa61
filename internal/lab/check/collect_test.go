package check

import (
	"bytes"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A whole run, with the simplest correct service in the service's place: what
// the feed, the broker, the stub and the checker report must fit together.
func TestRun_OnARealHistory(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b, err := broker.Start(broker.Options{Topics: map[string]int32{"contacts": 3, "dead": 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	var log bytes.Buffer
	cfg := stub.DefaultConfig()
	cfg.Log = &log
	api, err := stub.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := api.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	fc := feed.DefaultConfig()
	fc.Streams, fc.Contacts, fc.Events = 4, 40, 600
	fc.PoisonShare, fc.RejectShare, fc.TombstoneShare, fc.DeleteShare = 0.05, 0.1, 0.02, 0.02
	fc.Transactional, fc.TxnEvents, fc.AbortShare = true, 50, 0.2
	man, err := feed.Produce(ctx, b.Addrs(), fc, nil)
	if err != nil {
		t.Fatal(err)
	}

	naive(t, b, api)

	in := Input{Manifest: man, MaxRows: 100}
	if err := in.Kafka(ctx, b.Addrs(), "group", "dead"); err != nil {
		t.Fatal(err)
	}
	in.APIs(api)
	r := Run(in)
	if !r.OK() || r.Truth.Events != 600 || r.DeadLetters == 0 || r.Truth.Classes[feed.Aborted] == 0 {
		t.Fatal(r)
	}

	remote := Input{Manifest: man, Committed: in.Committed, DeadLetters: in.DeadLetters}
	if err := remote.StubAt(ctx, api.URL()); err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	if !reflect.DeepEqual(remote.State, in.State) || remote.Stats.Calls != in.Stats.Calls {
		t.Error("the stub reports something else to another process")
	}
	if r := Run(remote); !r.OK() {
		t.Error(r)
	}
	if remote.Calls, err = stub.ReadLog(&log); err != nil {
		t.Fatal(err)
	}
	if r2 := Run(remote); !r2.OK() || r2.Superseded != r.Superseded || r2.Calls != r.Calls {
		t.Errorf("from the log:\n%s", r2)
	}
	remote.Calls = remote.Calls[:len(remote.Calls)-1]
	if Run(remote).OK() {
		t.Error("a call is missing and nothing is found")
	}
	if err := remote.StubAt(ctx, api.URL()+"/none"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a wrong address: %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// naive sends every event on its own, in order.
func naive(t *testing.T, b *broker.Broker, api *stub.Server) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	d, err := event.NewDecoder(event.DefaultConfig(), nil)
	if err != nil {
		t.Fatal(err)
	}
	records, err := broker.ReadAll(t.Context(), b.Addrs(), "contacts")
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for _, r := range records {
		ev := d.Decode(contactsync.Record{Key: r.Key, Value: r.Value})
		switch {
		case ev.Kind == event.Broken:
			deadLetterOf(t, client, r, ev.Err.Reason)
		case ev.Kind == event.Update && !deliver(t, &http.Client{Transport: transport}, api.URL(), ev):
			deadLetterOf(t, client, r, contactsync.ReasonRejected)
		}
	}
	var offsets kadm.Offsets
	ends, err := broker.EndOffsets(t.Context(), b.Addrs(), "contacts")
	if err != nil {
		t.Fatal(err)
	}
	for p, end := range ends {
		offsets.AddOffset(p.Topic, p.Partition, end, -1)
	}
	if err := kadm.NewClient(client).CommitAllOffsets(t.Context(), "group", offsets); err != nil {
		t.Fatal(err)
	}
}

func deliver(t *testing.T, client *http.Client, base string, ev event.Event) bool {
	t.Helper()
	url := base + "/agentassist/api/v1/public/" + ev.Contact.Stream + "/contacts/bulk-update"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader("["+string(ev.Contact.Body)+"]"))
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{"appId": stub.LabAppID, "exp": time.Now().Add(time.Minute).Unix()}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(stub.LabSecret))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("auth", token)
	req.Header.Set("accountId", "acc")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("answer %s: %v", resp.Status, err)
	}
	return strings.Contains(body.String(), `"successful":1,`)
}

func deadLetterOf(t *testing.T, client *kgo.Client, r *kgo.Record, reason contactsync.Reason) {
	t.Helper()
	place := position(r.Topic, r.Partition, r.Offset)
	dead := &kgo.Record{Topic: "dead", Key: r.Key, Value: r.Value, Headers: headers(map[string]string{
		"contactsync-topic": r.Topic, "contactsync-partition": fmt.Sprint(r.Partition), "contactsync-offset": fmt.Sprint(r.Offset),
		"contactsync-positions": place.String(), "contactsync-reason": string(reason),
	})}
	if err := client.ProduceSync(t.Context(), dead).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func position(topic string, partition int32, offset int64) contactsync.Position {
	return contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: topic, Partition: partition}, Offset: offset}
}

func headers(m map[string]string) []kgo.RecordHeader {
	var all []kgo.RecordHeader
	for k, v := range m {
		all = append(all, kgo.RecordHeader{Key: k, Value: []byte(v)})
	}
	return all
}

func TestReadDeadLetters(t *testing.T) {
	t.Parallel()
	good := func() map[string]string {
		return map[string]string{
			"contactsync-topic": "t", "contactsync-partition": "2", "contactsync-offset": "17", "contactsync-reason": "rejected",
			"contactsync-positions": "t/2@15-17,u/0@4", "contactsync-positions-left": "3", "other": "x",
		}
	}
	got, err := ReadDeadLetters([]*kgo.Record{{Headers: headers(good())}})
	want := []DeadLetter{{At: position("t", 2, 17), Positions: []contactsync.Position{position("t", 2, 15), position("t", 2, 16), position("t", 2, 17), position("u", 0, 4)}, Unlisted: 3, Reason: contactsync.ReasonRejected}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v", got, err)
	}
	for name, value := range map[string]string{
		"contactsync-partition": "x", "contactsync-offset": "", "contactsync-positions": "t/2", "contactsync-positions-left": "many",
	} {
		bad := good()
		bad[name] = value
		if _, err := ReadDeadLetters([]*kgo.Record{{Topic: "dead", Offset: 5, Headers: headers(bad)}}); err == nil || !strings.Contains(err.Error(), "dead/0@5") {
			t.Errorf("%s %q: error %v", name, value, err)
		}
	}
}
