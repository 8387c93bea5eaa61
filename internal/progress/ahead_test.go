package progress

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/bounded"
)

// TestAhead_KnowsWhatEndedAndNoMore plays owners of a partition that read, end, commit
// and crash, and compares what each one is told with what really ended.
func TestAhead_KnowsWhatEndedAndNoMore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		log := make([]int64, 0, 300) // offsets that hold an event
		for at, n := int64(0), rapid.IntRange(1, 300).Draw(t, "events"); len(log) < n; {
			at += rapid.SampledFrom([]int64{1, 1, 1, 1, 1, 2, 30, 600}).Draw(t, "gap")
			log = append(log, at)
		}
		ended := map[int64]contactsync.State{} // as it really is, over all owners
		room := rapid.SampledFrom([]int{MaxText, MaxText, 90, 120, 0}).Draw(t, "room")
		text, committed, exact := "", int64(-1), map[int64]bool{}
		for owner := range rapid.IntRange(1, 5).Draw(t, "owners") {
			ahead, err := Parse(text, committed, NewLog("c", [16]byte{7}))
			if err != nil {
				t.Fatalf("owner %d: %v", owner, err)
			}
			tr := NewTracker()
			tr.Resume(committed, ahead)
			tr.Start(max(committed, 0))
			at := 0
			for at < len(log) && log[at] < committed {
				if ended[log[at]] == contactsync.Open {
					t.Fatalf("I2: %d was committed beyond %d, which has not ended", committed, log[at])
				}
				at++
			}
			var open []int64
			known := map[int64]bool{} // to this owner
			for _, o := range log {
				known[o] = tr.Inherited(o, -1) != contactsync.Open
			}
			for range rapid.IntRange(1, 60).Draw(t, "steps") {
				switch rapid.IntRange(0, 9).Draw(t, "step") {
				case 0, 1, 2:
					for range rapid.IntRange(1, 20).Draw(t, "read") {
						if at == len(log) {
							break
						}
						o := log[at]
						at++
						state := tr.Inherited(o, -1)
						if state != contactsync.Open && state != ended[o] {
							t.Fatalf("owner %d is told that %d is %d, and it is %d", owner, o, state, ended[o])
						}
						if state == contactsync.Open && exact[o] {
							t.Fatalf("owner %d is not told that %d has ended", owner, o)
						}
						tr.Opened([]int64{o})
						if state == contactsync.Open || rapid.IntRange(0, 9).Draw(t, "reopened") == 0 {
							open = append(open, o)
						} else {
							tr.Done([]contactsync.Ended{{Offset: o, SetAside: state == contactsync.SetAside}})
						}
					}
				case 3:
					if at < len(log) {
						tr.Passed(log[at], -1)
					}
				case 4, 5, 6, 7:
					for range rapid.IntRange(1, 10).Draw(t, "end") {
						if len(open) == 0 {
							break
						}
						i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
						o := open[i]
						open = append(open[:i], open[i+1:]...)
						aside := rapid.IntRange(0, 4).Draw(t, "aside") == 0
						if ended[o] != contactsync.Open { // an earlier owner had ended it
							aside = ended[o] == contactsync.SetAside
						}
						tr.Done([]contactsync.Ended{{Offset: o, SetAside: aside}})
						ended[o], known[o] = contactsync.Completed, true
						if aside {
							ended[o] = contactsync.SetAside
						}
					}
				default:
					c := tr.ToCommit(TextRuns)
					c.Log = NewLog("c", [16]byte{7})
					var whole bool
					text, whole = c.Text(room)
					committed = c.Offset
					tr.Committed(c)
					if len(text) > room {
						t.Fatalf("%d bytes, %d are taken", len(text), room)
					}
					exact = map[int64]bool{}
					for o := range known {
						exact[o] = whole && text != "" && known[o]
					}
				}
			}
		}
	})
}

// TestAhead_FitsWhatABacklogLeaves has the sizes that a backlog makes: half of the
// contacts were sent, each with five events all over the log.
func TestAhead_FitsWhatABacklogLeaves(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		events, open int
		whole        bool
	}{
		{20_000, 100, true},
		{20_000, 10_000, true},
		{1_000_000, 500_000, false},
	} {
		t.Run(fmt.Sprintf("%d open of %d", c.open, c.events), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(1, 1))
			tr := NewTracker()
			for o := range c.events {
				tr.Opened([]int64{int64(o)})
			}
			truth := map[int64]bool{}
			for _, o := range r.Perm(c.events)[:c.events-c.open] {
				truth[int64(o)] = true
				end(tr, int64(o))
			}
			commit := tr.ToCommit(TextRuns)
			text, whole := commit.Text(MaxText)
			if whole != c.whole || len(text) > MaxText {
				t.Fatalf("%d bytes, whole %v", len(text), whole)
			}
			a, err := Parse(text, commit.Offset, Log{})
			if err != nil {
				t.Fatal(err)
			}
			known := 0
			for o := a.Offset; o < a.End; o++ {
				if a.State(o) != contactsync.Open {
					known++
					if !truth[o] {
						t.Fatalf("%d has not ended", o)
					}
				}
			}
			t.Logf("%d bytes: %d of %d", len(text), known, len(truth))
			if c.whole && known != len(truth)-int(a.Offset) {
				t.Fatalf("%d are known to have ended, %d had beyond %d", known, len(truth)-int(a.Offset), a.Offset)
			}
			if known < 7_000 && c.open > 7_000 {
				t.Fatalf("only %d are known", known)
			}
		})
	}
}

func TestParse_BelievesOnlyWhatBelongsToTheOffset(t *testing.T) {
	t.Parallel()
	here := NewLog("c", [16]byte{1})
	tr := NewTracker()
	tr.Resume(100, nil)
	tr.Opened([]int64{100, 101, 102})
	tr.Done([]contactsync.Ended{{Offset: 101}, {Offset: 102, SetAside: true}})
	c, changed := tr.ToCommit(TextRuns), tr.Changed()
	if !changed || c.Offset != 100 {
		t.Fatalf("%+v, %v: two events ended", c, changed)
	}
	c.Log, c.Released, c.AtWork = here, true, 90*time.Second
	text, _ := c.Text(MaxText)

	a, err := Parse(text, 100, here)
	if err != nil || !a.Released || a.AtWork != 90*time.Second || a.End != 103 {
		t.Fatalf("%+v, %v", a, err)
	}
	for o, want := range []contactsync.State{contactsync.Open, contactsync.Completed, contactsync.SetAside, contactsync.Open} {
		if got := a.State(100 + int64(o)); got != want {
			t.Errorf("offset %d is %d, want %d", 100+o, got, want)
		}
	}
	for name, c := range map[string]struct {
		text      string
		committed int64
		log       Log
		want      error
	}{
		"nothing was kept":                   {"", 100, here, nil},
		"another program wrote it":           {"NaN", 100, here, Foreign},
		"a consumer that notes its host":     {"host-7\x00\xff", 100, here, Foreign},
		"a later release wrote it":           {prefix + "2:AAAA", 100, here, Version},
		"an operator reset the offset":       {text, 50, here, OtherOffset},
		"nothing is committed any more":      {text, -1, here, OtherOffset},
		"the topic was created again":        {text, 100, NewLog("c", [16]byte{2}), OtherLog},
		"copied to another cluster":          {text, 100, NewLog("d", [16]byte{1}), OtherCluster},
		"the brokers have no ids for topics": {text, 100, NewLog("c", [16]byte{}), UnknownLog},
		"cut short":                          {text[:len(text)-2], 100, here, Damaged},
		"one character changed":              {text[:30] + "x" + text[31:], 100, here, Damaged},
		"no base64":                          {text + "=", 100, here, Damaged},
		"only the prefix":                    {prefix + version, 100, here, Damaged},
		"text that goes on":                  {text + "AAAA", 100, here, Damaged},
		"megabytes behind the right version": {prefix + version + strings.Repeat("A", 1<<20), 100, here, Damaged},
	} {
		a, err := Parse(c.text, c.committed, c.log)
		if !errors.Is(err, c.want) || a != nil {
			t.Errorf("%s: %v, %v; want %v", name, a, err, c.want)
		}
	}
}

// TestText_SaysHowAFeedGoesOn: of events that cannot be read. A record of its own, which
// may be older, says nothing of it.
func TestText_SaysHowAFeedGoesOn(t *testing.T) {
	t.Parallel()
	for _, want := range []*Feed{nil, {Waits: true}, {Waits: true, Offset: 120}, {Offset: 50_000}, {Offset: math.MaxInt64}} {
		tr := NewTracker()
		tr.Resume(100, nil)
		for o := int64(100); o < 5000; o++ { // runs of every length
			tr.Opened([]int64{o})
			if o%7 < 3 {
				tr.Done([]contactsync.Ended{{Offset: o}})
			}
		}
		c := tr.ToCommit(TextRuns)
		c.Feed = want
		text, _ := c.Text(MaxText)
		got, err := Parse(text, 101, Log{})
		if err != nil || !reflect.DeepEqual(got.Feed, want) || got.State(107) != contactsync.Completed || got.State(103) != contactsync.Open {
			t.Errorf("%+v is read as %+v, %v", want, got, err)
		}
		record, _ := c.Bytes()
		if kept, ok := decode(record); !ok || kept.Feed != nil {
			t.Errorf("a record of its own has %+v, %v", kept.Feed, ok)
		}
	}
}

// TestAhead_ASecondRestartDuringTheReadingKeepsWhatWasInherited: unread events must not
// be open again only because this owner has not come to them.
func TestAhead_ASecondRestartDuringTheReadingKeepsWhatWasInherited(t *testing.T) {
	t.Parallel()
	tr := NewTracker()
	for o := range int64(1000) {
		tr.Opened([]int64{o})
	}
	for o := int64(1); o < 1000; o += 2 {
		end(tr, o)
	}
	for restart := range 3 {
		c := tr.ToCommit(TextRuns)
		text, _ := c.Text(MaxText)
		a, err := Parse(text, 0, Log{})
		if err != nil {
			t.Fatal(err)
		}
		for o := range int64(1000) {
			if ended := a.State(o) != contactsync.Open; ended != (o%2 == 1) {
				t.Fatalf("restart %d: %d has ended: %v", restart, o, ended)
			}
		}
		tr = NewTracker()
		tr.Resume(0, a)
		tr.Start(0)
		tr.Opened([]int64{0, 1, 2}) // and then it dies
	}
}

func TestTracker_ForgetsWhatWasInheritedWhereReadingBeginsElsewhere(t *testing.T) {
	t.Parallel()
	in := &Ahead{Offset: 10, End: 20}
	tr := NewTracker()
	tr.Resume(10, in)
	if tr.Start(10); tr.Inherited(15, -1) != contactsync.Completed {
		t.Fatal("15 had ended")
	}
	if tr.Start(0); tr.Inherited(15, -1) != contactsync.Open {
		t.Fatal("the log begins elsewhere: nothing of it had ended")
	}
}

func TestTracker_ACommitThatIsOvertakenLeavesAChange(t *testing.T) {
	t.Parallel()
	tr := NewTracker()
	tr.Resume(0, nil)
	tr.Opened([]int64{0, 1, 2})
	end(tr, 1)
	c := tr.ToCommit(TextRuns)
	end(tr, 2) // while Kafka takes the commit
	tr.Committed(c)
	if !tr.Changed() {
		t.Fatal("the end of 2 is committed with nothing")
	}
}

func TestParse_RefusesRunsThatAreNotInWhatItSays(t *testing.T) {
	t.Parallel()
	for _, a := range []Ahead{
		{Offset: 5, End: 10, open: spans{{6, 11}}},
		{Offset: 5, End: 10, setAside: spans{{6, 11}}},
		{Offset: 5, End: 10, open: spans{{12, 13}}},
	} {
		if _, err := Parse(textOf(a), 5, Log{}); !errors.Is(err, Damaged) {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

// One open position must not keep what is known of any number of dead letters behind it: of the furthest
// it is forgotten, and they count as open. When it has ended everything is known again.
func TestTracker_BoundsWhatIsKnownOfDeadLetters(t *testing.T) {
	t.Parallel()
	const letters, apart = 20 * mostKept, chunkOffsets + 100
	tr, first := NewTracker(), int64(0)
	for range 2 {
		tr.Opened([]int64{first})
		most := 0
		for i := range int64(letters) {
			o := first + (i+1)*apart
			tr.Opened([]int64{o})
			tr.Done([]contactsync.Ended{{Offset: o, SetAside: true}})
			most = max(most, len(tr.chunks))
		}
		if most > 2*mostKept+128 {
			t.Errorf("%d chunks are kept for %d dead letters", most, letters)
		}
		a := tr.ToCommit(RecordRuns).Ahead
		if !a.partial || a.State(first+apart) != contactsync.SetAside || a.State(first+mostKept/2*apart) != contactsync.SetAside {
			t.Error("what was set aside first is not known")
		}
		for _, i := range []int64{2*mostKept + 200, letters / 2, letters - 1} {
			if got := a.State(first + i*apart); got != contactsync.Open {
				t.Errorf("dead letter %d is %v, want open", i, got)
			}
		}
		tr.Done([]contactsync.Ended{{Offset: first}})
		next := first + (letters+1)*apart
		tr.Opened([]int64{next, next + 1})
		tr.Done([]contactsync.Ended{{Offset: next + 1, SetAside: true}})
		if a := tr.ToCommit(RecordRuns).Ahead; a.Offset != next || a.partial || a.State(next+1) != contactsync.SetAside {
			t.Errorf("after that %d is committed, partial %v", a.Offset, a.partial)
		}
		tr.Done([]contactsync.Ended{{Offset: next}})
		first = next + 10*apart
	}
}

// TestTracker_KnowsWhatWasSetAsideFarBehindAnOpenPosition: what compact drops counts as
// delivered.
func TestTracker_KnowsWhatWasSetAsideFarBehindAnOpenPosition(t *testing.T) {
	t.Parallel()
	tr := NewTracker()
	tr.Opened([]int64{0, 1000})
	tr.Done([]contactsync.Ended{{Offset: 1000, SetAside: true}})
	for at := int64(2000); at < 1_000_000; at += 1000 {
		tr.Opened([]int64{at})
		end(tr, at)
	}
	c := tr.ToCommit(TextRuns)
	if got := c.State(1000); got != contactsync.SetAside {
		t.Errorf("1000 is %d", got)
	}
	if got := c.State(2000); got != contactsync.Completed {
		t.Errorf("2000 is %d", got)
	}
}

// TestTracker_BelievesNothingOfALogThatWasCutOffAndHasGrownAgain: offsets that a later
// leader has written hold other events than those that the earlier owner had ended.
func TestTracker_BelievesNothingOfALogThatWasCutOffAndHasGrownAgain(t *testing.T) {
	t.Parallel()
	tr := NewTracker()
	tr.Opened([]int64{0, 1, 2, 3, 4, 5})
	for o := range int64(6) {
		tr.Inherited(o, 3+int32(o/3)) // leaders 3 and 4
	}
	end(tr, 1, 2, 3, 4, 5)
	c := tr.ToCommit(TextRuns)
	text, _ := c.Text(MaxText)
	for name, leaders := range map[string]struct {
		epochs []int32
		ended  []int64
	}{
		"as it was":                     {[]int32{3, 3, 3, 4, 4, 4}, []int64{1, 2, 3, 4, 5}},
		"grown again from 4 on":         {[]int32{3, 3, 3, 4, 5, 5}, []int64{1, 2, 3}},
		"the end was lost, then a hole": {[]int32{3, 3, 6, 6, 6, 6}, []int64{1}},
		"brokers that do not say":       {[]int32{-1, -1, -1, -1, -1, -1}, []int64{1, 2, 3, 4, 5}},
	} {
		a, err := Parse(text, 0, Log{})
		if err != nil {
			t.Fatal(err)
		}
		next := NewTracker()
		next.Resume(0, a)
		var ended []int64
		for o, epoch := range leaders.epochs {
			if next.Inherited(int64(o), epoch) != contactsync.Open {
				ended = append(ended, int64(o))
			}
		}
		if !slices.Equal(ended, leaders.ended) {
			t.Errorf("%s: %v had ended, want %v", name, ended, leaders.ended)
		}
	}
}

func FuzzParse(f *testing.F) {
	tr := NewTracker()
	tr.Resume(5, nil)
	for o := int64(5); o < 2000; o++ {
		tr.Opened([]int64{o})
		if o%3 == 0 {
			tr.Done([]contactsync.Ended{{Offset: o, SetAside: o%2 == 0}})
		}
	}
	c := tr.ToCommit(TextRuns)
	text, _ := c.Text(MaxText)
	f.Add([]byte(text))
	f.Add(c.runs())
	f.Fuzz(func(t *testing.T, data []byte) {
		defer bounded.Within(t, 1<<20+100*len(data))()
		if a, err := Parse(string(data), 5, Log{}); err == nil && a != nil && (a.Offset != 5 || a.End < 5) {
			t.Fatalf("%+v", a)
		}
		a, ok := decode(data) // as if the checksum were right
		if !ok {
			return
		}
		at := a.Offset
		for _, s := range a.open {
			if s.from < at || s.to <= s.from || s.to > a.End {
				t.Fatalf("runs out of order: %v", a.open)
			}
			at = s.to
		}
	})
}

// textOf returns the text of a without a bound.
func textOf(a Ahead) string {
	text, _ := a.Text(1 << 20)
	return text
}
