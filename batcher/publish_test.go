package batcher

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/logbuffer"
)

func TestBatcher_DeadLetterBeforeItsOffsetEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		s.publish = func(n int) error {
			if n < 4 {
				return errors.New("not enough replicas")
			}
			return nil
		}
		s.add("broken", "a")
		s.at(time.Second)
		s.wantCalls("500ms a")
		s.wantEnded(1) // everything else goes on
		s.at(time.Minute)
		s.wantEnded(0, 1)
		if len(s.deadLetters) != 1 || s.deadLetters[0].Reason != contactsync.ReasonInvalid || s.deadLetters[0].Positions[0].Offset != 0 {
			t.Errorf("dead letters %+v", s.deadLetters)
		}
	})
}

func TestBatcher_DeadLettersThatCannotBeWrittenAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.BackoffMin, c.BackoffMax = time.Second, time.Second })
		s.publish = func(n int) error {
			if n <= 90 { // a try a second
				return errors.New("not enough replicas")
			}
			return nil
		}
		s.add("broken")
		s.at(time.Hour)
		s.wantEnded(0)
		for text, want := range map[string]int{
			"cannot be written": 2, "not enough replicas": 2, "attempts=61": 1, "written again": 1, "attempts=91 lasted=1m30s": 1,
		} {
			if got := strings.Count(s.log.String(), text); got != want {
				t.Errorf("%q is logged %d times, want %d:\n%s", text, got, want, &s.log)
			}
		}
	})
}

// A Kafka that takes dead letters at every second try is one trouble, not many.
func TestBatcher_DeadLettersInTroubleDoNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		s.publish = func(n int) error {
			if n%2 == 1 {
				return errors.New("not enough replicas")
			}
			return nil
		}
		for i := range 120 {
			s.at(time.Duration(i) * time.Second)
			s.add("broken")
		}
		s.at(10 * time.Minute)
		log := s.log.String()
		failed, again := strings.Count(log, "cannot be written"), strings.Count(log, "written again")
		if len(s.deadLetters) != 120 || failed > 3 || again != failed {
			t.Errorf("%d dead letters; logged %d times that they cannot be written, and %d times that they are again:\n%s", len(s.deadLetters), failed, again, log)
		}
	})
}

// Kafka takes some of the letters of one write: the others wait, and their offsets.
func TestBatcher_DeadLettersThatAreLeftOverWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		s.refuse = func(n int, l contactsync.DeadLetter) bool {
			return n == 1 || n == 3 && l.Record.Offset%2 == 0 // the first, alone; then three of six
		}
		s.add("broken")
		s.at(100 * time.Millisecond)
		s.add("broken", "broken", "broken", "broken", "broken", "broken")
		s.at(600 * time.Millisecond)
		s.wantEnded(0, 1, 3, 5)
		s.at(time.Minute)
		s.wantEnded(0, 1, 2, 3, 4, 5, 6)
		if len(s.deadLetters) != 7 {
			t.Errorf("%d dead letters written, want each once", len(s.deadLetters))
		}
	})
}

// What was set aside in the last minute is logged at the end as well.
func TestBatcher_LastDeadLettersAreLoggedAtTheEnd(t *testing.T) {
	var log *logbuffer.Buffer
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		log = &s.log
		s.add("broken")
		s.at(2 * time.Second)
		s.add("broken", "broken")
		s.at(4 * time.Second)
		s.stop()
		synctest.Wait()
	})
	if !strings.Contains(log.String(), "letters=2 ") {
		t.Errorf("the last two dead letters are not logged:\n%s", log)
	}
}

func TestBatcher_DeadLettersAreLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		for i := range 90 {
			s.at(time.Duration(i) * time.Second)
			s.add("broken")
		}
		s.at(10 * time.Minute)
		log := s.log.String()
		if n := strings.Count(log, "set aside as dead letters"); n != 3 || len(s.deadLetters) != 90 {
			t.Errorf("%d dead letters logged in %d lines, want 90 in 3:\n%s", len(s.deadLetters), n, log)
		}
		for _, want := range []string{`letters=1 reasons="invalid=1"`, `letters=60 reasons="invalid=60"`, `letters=29 reasons="invalid=29"`} {
			if !strings.Contains(log, want) {
				t.Errorf("the log lacks %q:\n%s", want, log)
			}
		}
	})
}
