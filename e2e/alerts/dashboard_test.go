//go:build alerts

package alerts

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/upstream"
)

var keep = flag.String("answers", "", "folder that TestDashboard keeps the answers in, from which the dashboard is drawn")

// board is what is read of a dashboard.
type board struct{ Panels []boardPanel }

type boardPanel struct {
	ID      int
	Title   string
	Targets []struct{ Expr, LegendFormat string }
}

func readBoard(t *testing.T, path string) (b board) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	must(t, json.Unmarshal(text, &b))
	return b
}

// scaledBoard is the dashboard with the thresholds of such rules.
func scaledBoard(t *testing.T, rules []byte) board {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "rules.yaml"), rules, 0o600))
	generate(t, "-rules", filepath.Join(dir, "rules.yaml"), "-dashboard", filepath.Join(dir, "dashboard.json"))
	return readBoard(t, filepath.Join(dir, "dashboard.json"))
}

// series is one of an answer to a query over time.
type series struct {
	Metric map[string]string `json:"metric"`
	Values [][2]any          `json:"values"` // seconds, and a number as text
}

// most is the highest value.
func (s series) most() (most float64) {
	for _, v := range s.Values {
		if value, err := strconv.ParseFloat(fmt.Sprint(v[1]), 64); err == nil && value > most {
			most = value
		}
	}
	return most
}

const step = 2 // seconds between the values that are asked for

// over asks a query of the dashboard about the jobs that fit a pattern and all else that there is.
func (p prometheus) over(ctx context.Context, expr, jobs string, from, to time.Time) ([]series, error) {
	expr = strings.NewReplacer("$__rate_interval", "10s", "$namespace", ".*", "$account", ".*",
		"$job", strings.Trim(strconv.Quote(jobs), `"`)).Replace(expr)
	var answer struct{ Data struct{ Result []series } }
	err := p.get(ctx, "/api/v1/query_range?"+url.Values{
		"query": {expr}, "step": {strconv.Itoa(step)}, "start": {fmt.Sprint(from.Unix())}, "end": {fmt.Sprint(to.Unix())},
	}.Encode(), &answer)
	return answer.Data.Result, err
}

// act is what happens to two accounts in the time that the dashboard is drawn for.
const act = 3 * time.Minute

// plot has, one after the other, a stream that the API does not know, another that uses the
// limit too, an outage, and an API that is slow; beside that, a few bad events throughout.
var plot = map[string][]stub.Rule{
	"crm-eu": {
		{Name: "unknown", From: 20 * time.Second, Match: stub.Match{Streams: []string{"st-0003"}}, Answer: &stub.Answer{Status: 404}},
		{Name: "limited", From: 40 * time.Second, To: 70 * time.Second, Share: 0.3, Answer: &stub.Answer{Status: 429, Headers: map[string]string{"Retry-After": "1"}}},
		{Name: "slow", From: 120 * time.Second, To: 150 * time.Second, Answer: &stub.Answer{Latency: 1500 * time.Millisecond}},
	},
	"crm-us": {
		{Name: "down", From: 80 * time.Second, To: 110 * time.Second, Answer: &stub.Answer{Status: 503, Body: stub.HTML}},
		{Name: "misfit", From: 130 * time.Second, To: 150 * time.Second, Rows: &stub.Rows{Unknown: 1}},
	},
}

// TestDashboard asks a real Prometheus every query of the dashboard, with thresholds scaled
// down as the rules are, and fails where one has no answer.
func TestDashboard(t *testing.T) {
	rules, _ := scaled(t)
	b := scaledBoard(t, rules)

	ctx, cancel := context.WithTimeoutCause(t.Context(), act+time.Minute, errors.New("not over in time"))
	defer cancel()
	p := start(t, rules)
	began := time.Now()
	hosts := perform(t, ctx, p)
	<-time.After(time.Until(began.Add(act))) // the plot is by the clock of the API
	must(t, ctx.Err())

	answers := askAll(t, ctx, p, b, began)
	for _, all := range answers {
		for _, s := range slices.Concat(all...) {
			if name, ok := hosts[s.Metric["host"]]; ok {
				s.Metric["host"] = name
			}
		}
	}
	if *keep == "" {
		return
	}
	text, err := json.Marshal(map[string]any{"from": began.Unix(), "step": step, "answers": answers})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(*keep, "answers.json"), text, 0o600))
	must(t, os.WriteFile(filepath.Join(*keep, "rules.yaml"), rules, 0o600))
}

// askAll asks every query of the dashboard about all jobs, and fails the test for those
// without an answer.
func askAll(t *testing.T, ctx context.Context, p prometheus, b board, from time.Time) map[int][][]series {
	t.Helper()
	answers := map[int][][]series{}
	for _, panel := range b.Panels {
		for _, target := range panel.Targets {
			got, err := p.over(ctx, target.Expr, ".*", from, time.Now())
			must(t, err)
			name := panel.Title + ": " + target.LegendFormat
			if len(got) == 0 {
				t.Errorf("%s: %d series answer\n%s", name, len(got), target.Expr)
			}
			answers[panel.ID] = append(answers[panel.ID], got)
		}
	}
	if len(answers) == 0 {
		t.Error("the dashboard asks nothing")
	}
	return answers
}

// generate runs the command that makes the dashboard.
func generate(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"run", "."}, args...)...)
	cmd.Dir = "../../tools/dashboard"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// perform has two replicas with two accounts go through the plot, and returns what the
// hosts of the API are called.
func perform(t *testing.T, ctx context.Context, p prometheus) (hosts map[string]string) {
	t.Helper()
	lab, err := harness.New(6)
	must(t, err)
	running, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(lab.CloseAPIs(), lab.Close()); err != nil {
			t.Log(err)
		}
	})
	b, c := &lab.Config.Batcher, &lab.Config.Consumer
	b.Linger, b.HoldProbeMax, b.WindowBytes = 200*time.Millisecond, b.HoldProbeMax/scale, 1<<20
	b.MaxInFlight = 6
	b.MaxBytes, lab.Config.Event.MaxEventBytes = 256<<10, 16<<10
	c.FetchMinBytes, c.FetchMaxBytes, c.DrainTimeout = 4<<10, 64<<10, 500*time.Millisecond
	hosts = map[string]string{}
	for i, id := range slices.Sorted(maps.Keys(plot)) {
		config := stub.DefaultConfig()
		config.Scenario.Rules, config.Latency, config.Jitter = plot[id], 30*time.Millisecond, 40*time.Millisecond
		api, err := lab.AddAPI(config)
		must(t, err)
		hosts[strings.TrimPrefix(api.URL(), "http://")] = id + ".example"
		// Of twenty streams, half each.
		account := lab.Account(id, api, 40, time.Second, []string{"st-000*", "st-001*"}[i])
		if id == "crm-us" {
			token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
				"appId": stub.LabAppID, "exp": time.Now().Add(30 * 24 * time.Hour).Unix(),
			}).SignedString([]byte(stub.LabSecret))
			must(t, err)
			file, err := lab.Secret("static-token", token)
			must(t, err)
			account.Credentials = upstream.Credentials{StaticTokenFile: file}
		}
		lab.Config.Upstream.Accounts = append(lab.Config.Upstream.Accounts, account)
	}
	events := feed.DefaultConfig()
	events.Contacts, events.Streams, events.Events, events.Rate = 3000, 20, 1_000_000, 60
	events.PoisonShare, events.RejectShare, events.TombstoneShare, events.DeleteShare = 0.005, 0.005, 0.02, 0.01
	lab.ProduceInBackground(running, events)

	targets := map[string][]string{}
	for _, name := range []string{"contactsync-0", "contactsync-1"} {
		replica, err := lab.Start(running, app.Options{})
		must(t, err)
		targets[name] = append(targets[name], replica.Addr)
		if len(targets) == 1 {
			targets[name] = append(targets[name], ownSeries(t, 512<<20))
		}
		p.scrapeAs(t, targets)
		select { // the second replica comes later, and takes partitions from the first
		case <-time.After(12 * time.Second):
		case <-ctx.Done():
		}
	}
	time.AfterFunc(2*time.Minute, func() { // after the second replica has come, some 25 s after the start
		burst := events
		burst.Events, burst.Rate, burst.Seed = 6000, 0, 2
		lab.ProduceInBackground(running, burst)
		if err := lab.PutRaw(running, 5, func(int64) []byte { return []byte("this is no batch of records, and longer than a header of one") }); err != nil {
			t.Error(err)
		}
	})
	return hosts
}

// ownSeries serves the series of this process, in which all replicas run: all of them but
// when it was started, which each replica has for itself. Its memory is limited meanwhile.
func ownSeries(t *testing.T, memory int64) (addr string) {
	t.Helper()
	before := debug.SetMemoryLimit(memory)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	reg := client.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	server := httptest.NewServer(promhttp.HandlerFor(client.GathererFunc(func() ([]*dto.MetricFamily, error) {
		all, err := reg.Gather()
		return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool { return f.GetName() == "process_start_time_seconds" }), err
	}), promhttp.HandlerOpts{}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// scrapeAs has the server scrape addresses as instances of one job.
func (p prometheus) scrapeAs(t *testing.T, instances map[string][]string) {
	t.Helper()
	var groups []targetGroup
	for name, addrs := range instances {
		groups = append(groups, targetGroup{addrs, map[string]string{"job": "contactsync", "namespace": "crm", "instance": name}})
	}
	p.write(t, groups)
}

// holders are the lines of "Who is holding us?" that say yes for a fault. A fault that is not
// here holds up nothing but itself: no line may say so.
var holders = map[string][]string{
	"contacts are refused":                  {}, // a dead letter may be on its way at a scrape
	"the API answers 503":                   {"Circuit breaker"},
	"credentials of a stream refused":       {"Holds"},
	"a stream is unknown":                   {"Holds"},
	"a contact is unknown":                  {"Holds"}, // it waits alone, and nothing else does
	"a contact makes requests fail":         {"Holds"},
	"somebody else uses the limit":          {"Throttling"},
	"the budget is too small":               {"Budget"},
	"the topic for dead letters is missing": {"Kafka: dead letters"},
	"the feed has another format":           {"Kafka: partitions"},
	"a batch is damaged":                    {"Kafka: partitions"},
	"retention removes what was not read":   {"Kafka: partitions"},
	"the topic is deleted":                  {"Kafka: assignment"},
	"a stream's requests fail":              {"Failing streams"},
	"the API is silent":                     {"Slow API"},
	"the API is slow":                       {"Slow API"},
	"the window is too small":               {"Window full", "Budget"},
}

// checkBudget: a budget of which all is used looks so, however small it is.
func checkBudget(t *testing.T, ctx context.Context, p prometheus, b board, from time.Time) {
	t.Helper()
	const job = "the budget is too small"
	i := slices.IndexFunc(b.Panels, func(p boardPanel) bool { return p.Title == "How much of the budget is used?" })
	got, err := p.over(ctx, b.Panels[i].Targets[0].Expr, regexp.QuoteMeta(job), from, time.Now())
	must(t, err)
	if len(got) != 1 || got[0].most() < 0.95 {
		t.Errorf("%q: not all of the budget is used: %+v", job, got)
	}
}

// checkDashboard: every query of the dashboard is answered by a series of some fault, and its
// timeline names who holds up each replica.
func checkDashboard(t *testing.T, p prometheus, from time.Time) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b := readBoard(t, "../../helm/contactsync/files/dashboard.json")
	askAll(t, ctx, p, b, from)
	checkBudget(t, ctx, p, b, from)
	i := slices.IndexFunc(b.Panels, func(p boardPanel) bool { return p.Title == "Who is holding us?" })
	if i < 0 {
		t.Fatal("there is no such panel")
	}
	for _, f := range faults {
		var yes []string
		for _, target := range b.Panels[i].Targets {
			got, err := p.over(ctx, target.Expr, regexp.QuoteMeta(f.name), from, time.Now())
			must(t, err)
			if len(got) != 1 {
				t.Errorf("%q: %d series answer for %s", f.name, len(got), target.LegendFormat)
			}
			for _, s := range got {
				if s.most() >= 0.5 {
					yes = append(yes, target.LegendFormat)
				}
			}
		}
		fmt.Fprintf(t.Output(), "%-48s %s\n", f.name, strings.Join(yes, ", "))
		for _, name := range holders[f.name] {
			if !slices.Contains(yes, name) {
				t.Errorf("%q: %s does not hold us", f.name, name)
			}
		}
		if len(yes) > 0 && holders[f.name] == nil {
			t.Errorf("%q: %v hold us", f.name, yes)
		}
	}
}
