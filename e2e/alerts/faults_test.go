//go:build alerts

package alerts

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/logbuffer"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// groupAuthorizationFailed is Kafka's code for a right on the group that is missing.
const groupAuthorizationFailed = 30

// account is the one of each replica.
const account = "lab"

// fault is one thing that is wrong with a replica of its own, or with what is around it.
// Those without an alert are no faults: they only look like some.
type fault struct {
	name string
	// Each of fires has to fire. Of also, what else the fault may have fire while it lasts:
	// what follows from it sooner or later.
	fires, also []string

	plant func(*world) // before the replica starts, and its API
	later func(*world) // once it is scraped
}

// world is what a fault is planted in: the settings of the service, its API and its feed.
type world struct {
	*harness.Lab
	api      stub.Config
	requests int    // of the account a second; 0: no limit
	token    string // file with a token for the account, instead of the secret
	feed     feed.Config
	host     harness.API // once it is started
	log      logbuffer.Buffer
	t        *testing.T
}

// produce writes events at once.
func (w *world) produce(events int) {
	w.t.Helper()
	burst := w.feed
	burst.Events, burst.Rate = events, 0
	_, err := w.Produce(w.t.Context(), burst)
	must(w.t, err)
}

// answer has the API answer so, for some streams or all.
func answer(a stub.Answer, streams ...string) func(*world) {
	return func(w *world) {
		w.api.Scenario.Rules = []stub.Rule{{Name: "fault", Match: stub.Match{Streams: streams}, Answer: &a}}
	}
}

// answerOne has the API answer so to requests with the first contact.
func answerOne(a stub.Answer) func(*world) {
	return func(w *world) {
		g, err := feed.NewGenerator(w.feed)
		must(w.t, err)
		answer(a)(w)
		w.api.Scenario.Rules[0].Match.IDs = []string{g.Contact(0).ID}
		w.produce(2000)
	}
}

func rows(r stub.Rows) func(*world) {
	return func(w *world) { w.api.Scenario.Rules = []stub.Rule{{Name: "fault", Rows: &r}} }
}

// behind are the alerts about age, of whatever makes deliveries slow.
var behind = []string{"TooOldFast", "TooOldSlow", "OldestTooOld"}

var faults = []fault{
	{name: "nothing"},
	{name: "bursts that are kept up with", later: func(w *world) {
		for range 3 {
			w.produce(500)
			time.Sleep(2 * time.Second) // of real time, as Prometheus lives in it
		}
	}},
	{
		name:  "a replica that comes and goes",
		plant: func(w *world) { w.Config.Consumer.HeartbeatInterval = 100 * time.Millisecond }, // the bound of lateness is scaled down, too
		later: func(w *world) {
			second, err := w.Start(w.t.Context(), app.Options{})
			must(w.t, err)
			must(w.t, harness.Wait(w.t.Context(), func() bool { return second.Series().Value("consumer_assigned_partitions") == 1 }))
			must(w.t, second.Stop())
		},
	},
	{
		name: "the API answers 503", fires: []string{"BreakerOpen", "NotMoving", "OldestTooOld"},
		plant: answer(stub.Answer{Status: 503, Body: stub.HTML}),
	},
	{
		name: "credentials of a stream refused", fires: []string{"Unauthorized", "StreamsOnHold"},
		plant: answer(stub.Answer{Status: 401}, "st-0001"),
	},
	{
		name: "a stream is unknown", fires: []string{"StreamsOnHold"},
		plant: answer(stub.Answer{Status: 404}, "st-0001"),
	},
	{
		name: "somebody else uses the limit", fires: []string{"Throttled"}, also: behind,
		plant: func(w *world) { // the replica alone makes fewer calls
			w.api.RateLimit, w.api.RateWindow, w.api.RetryAfter = 30, time.Second, time.Second
		},
		later: func(w *world) { w.callBeside(28) },
	},
	{
		name: "the budget is too small", fires: append([]string{"BudgetExhausted"}, behind...),
		plant: func(w *world) { w.requests, w.Config.Batcher.MaxRows = 2, 2 },
	},
	{
		name: "contacts are refused", fires: []string{"DeadLetters"},
		plant: func(w *world) { w.feed.RejectShare = 0.02 },
	},
	{
		name: "the topic for dead letters is missing", fires: []string{"DeadLettersNotWritten"},
		plant: func(w *world) { w.feed.PoisonShare, w.Config.DeadLetter.Topic = 0.02, "contacts-set-aside" },
	},
	{
		name: "the feed has another format", fires: []string{"FeedUnreadable", "PartitionNotRead", "DeadLetters"},
		plant: func(w *world) {
			w.feed.PoisonShare = 1
			w.produce(200)
		},
	},
	{
		name: "a batch is damaged", fires: []string{"PartitionNotRead"},
		plant: func(w *world) {
			must(w.t, w.PutRaw(w.t.Context(), 0, func(int64) []byte { return []byte("this is no batch of records, and longer than a header of one") }))
		},
	},
	{
		name: "retention removes what was not read", fires: []string{"OffsetsLost", "PartitionNotRead"},
		plant: func(w *world) {
			w.produce(50)
			must(w.t, w.lose())
		},
	},
	{
		name: "a contact is unknown", fires: []string{"StreamsOnHold"},
		plant: answerOne(stub.Answer{Status: 404}),
	},
	{
		name: "a contact makes requests fail", fires: []string{"Unanswered"}, also: []string{"StreamsOnHold"},
		plant: answerOne(stub.Answer{Status: 500}),
	},
	{
		name: "the topic is deleted", fires: []string{"NoAssignment"}, also: []string{"PartitionNotRead", "CommitsFailing"},
		later: func(w *world) {
			must(w.t, w.admin(func(ctx context.Context, c *kadm.Client) error {
				_, err := c.DeleteTopics(ctx, w.Topic)
				return err
			}))
		},
	},
	{
		name: "answers name contacts that were not asked for", fires: []string{"AnswersDoNotFit"},
		plant: rows(stub.Rows{Unknown: 1}),
	},
	{
		name: "a stream's requests fail", fires: []string{"OldestTooOld"},
		plant: answer(stub.Answer{Status: 500}, "st-0001"),
	},
	{
		name: "the API is silent", fires: []string{"NotMoving", "SlowAPI", "OldestTooOld"}, also: []string{"BreakerOpen"},
		plant: answer(stub.Answer{Fault: stub.NoAnswer}),
	},
	{
		name: "the API is slow", fires: []string{"SlowAPI"}, also: behind,
		plant: func(w *world) { w.api.Latency = 3 * time.Second },
	},
	{
		name: "the window is too small", fires: []string{"WindowFull"}, also: append([]string{"BudgetExhausted"}, behind...),
		plant: func(w *world) {
			b, c := &w.Config.Batcher, &w.Config.Consumer
			w.Config.Event.MaxEventBytes, b.MaxBytes, b.WindowBytes = 4<<10, 64<<10, 256<<10
			c.FetchMinBytes, c.FetchMaxBytes = 4<<10, 16<<10
			w.requests = 3 // enough, were the requests full: the window has too few contacts of each stream
			w.produce(5000)
		},
	},
	{
		name: "a token ends soon", fires: []string{"CertificateExpiring"},
		plant: func(w *world) {
			var err error
			w.token, err = w.Secret("static-token", w.sign())
			must(w.t, err)
		},
	},
	{
		name: "commits are refused", fires: []string{"CommitsFailing"},
		later: func(w *world) { w.RefuseCommits(groupAuthorizationFailed) },
	},
	{
		name: "a secret is replaced by nothing", fires: []string{"FilesRefused"},
		later: func(w *world) {
			_, err := w.Secret("client-secret", "")
			must(w.t, err)
		},
	},
}

// sign returns a token for a day.
func (w *world) sign() string {
	w.t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"appId": stub.LabAppID, "exp": time.Now().Add(24 * time.Hour).Unix(),
	}).SignedString([]byte(stub.LabSecret))
	must(w.t, err)
	return token
}

// callBeside has somebody else read contacts of the account, so many times a second until the test ends.
func (w *world) callBeside(times int) {
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.host.URL()+"/agentassist/api/v1/public/st-0001/contacts", nil)
	must(w.t, err)
	r.Header.Set("Accountid", account)
	r.Header.Set("Auth", w.sign())
	const callers = 8 // so that a slow answer makes them no fewer
	for range callers {
		go func() {
			for tick := time.Tick(callers * time.Second / time.Duration(times)); w.t.Context().Err() == nil; <-tick {
				if res, err := http.DefaultClient.Do(r); err == nil {
					_ = res.Body.Close()
				}
			}
		}()
	}
}

// admin does something as an administrator of Kafka.
func (w *world) admin(do func(context.Context, *kadm.Client) error) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(w.Brokers...))
	if err != nil {
		return err
	}
	admin := kadm.NewClient(client)
	defer admin.Close()
	return do(w.t.Context(), admin)
}

// lose commits the group's offsets at the start, and has the broker drop what is there.
func (w *world) lose() error {
	return w.admin(func(ctx context.Context, c *kadm.Client) error {
		ends, err := c.ListEndOffsets(ctx, w.Topic)
		if err != nil {
			return err
		}
		committed := kadm.Offsets{}
		ends.Each(func(o kadm.ListedOffset) { committed.AddOffset(o.Topic, o.Partition, 0, -1) })
		if err := c.CommitAllOffsets(ctx, w.Group, committed); err != nil {
			return err
		}
		_, err = c.DeleteRecords(ctx, ends.Offsets())
		return err
	})
}
