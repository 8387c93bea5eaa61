package batcher

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/event"
)

// cpu is the processor time that the process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// leastCPU is the processor time that f takes without the garbage collector, which costs in proportion to what is
// allocated: the least of several times, because what else runs on the machine only adds to it.
func leastCPU(b *testing.B, f func()) time.Duration {
	b.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	least := time.Hour
	for range 5 {
		runtime.GC()
		before := cpu(b)
		f()
		least = min(least, cpu(b)-before)
	}
	return least
}

// spread is the least and the most of some times.
type spread struct{ least, most time.Duration }

func (s *spread) note(took time.Duration) {
	if s.least == 0 || took < s.least {
		s.least = took
	}
	s.most = max(s.most, took)
}

// report reports the most, and how much more that is than the least.
func (s *spread) report(b *testing.B, suffix string) {
	b.Helper()
	b.ReportMetric(float64(s.most.Nanoseconds()), "ns-most"+suffix)
	b.ReportMetric(float64(s.most)/float64(s.least), "most/least"+suffix)
}

// crowd is a window with so many streams and contacts that wait, of which none is ready.
func crowd(b *testing.B, streams, contacts int) *testWindow {
	b.Helper()
	w := newTestWindow(b, func(c *Config) { c.WindowBytes, c.MaxRows, c.MaxBytes, c.Linger = 1<<40, 1<<30, 1<<40, 1000*time.Hour })
	for i := range contacts {
		w.add(fmt.Sprintf("st-%d/c%d", i%streams, i))
	}
	for w.Next(w.now) != nil || w.Wake().Equal(w.now) {
		continue
	}
	return w
}

// mapCPU is the processor time of finding so many of a map's contacts, each when the one before was found, and of a change to
// each.
func mapCPU(b *testing.B, contacts, finds int) time.Duration {
	b.Helper()
	all := make(map[string]*contact, contacts)
	ids := make([]string, contacts)
	for i := range ids {
		ids[i] = fmt.Sprint("c", i)
		all[ids[i]] = &contact{sends: 1}
	}
	return leastCPU(b, func() {
		at := 0
		for range finds {
			c := all[ids[at]]
			at = (at + c.sends*7919) % contacts
			c.newest, c.charge = nil, 1
		}
	})
}

// BenchmarkScale is the processor time of an event, with all that becomes of it, beside more and more streams
// and contacts, and how much more it is with the most than with the fewest. Beside it bare-map is the
// same of a program that does nothing else, see mapCPU: so much of what an event costs more with the most is memory that no cache holds.
//
//	go test -run '^$' -bench Scale -benchtime 1x ./batcher
func BenchmarkScale(b *testing.B) {
	const rounds = 5000
	sizes := map[string][]struct{ streams, contacts int }{
		"streams":  {{10, 100_000}, {1000, 100_000}, {100_000, 100_000}},
		"contacts": {{10, 1000}, {10, 30_000}, {10, 1_000_000}},
	}
	const bareMap = "bare-map"
	kinds := map[string]func(w *testWindow, i, streams, contacts int) []*event.Event{
		"merge": func(w *testWindow, i, streams, contacts int) []*event.Event {
			i = i * 7919 % contacts
			return []*event.Event{w.event(fmt.Sprintf("st-%d/c%d", i%streams, i))}
		},
		"new-and-deleted": func(w *testWindow, i, streams, _ int) []*event.Event {
			id := fmt.Sprintf("st-%d/new", i%streams)
			gone := w.event(id)
			gone.Kind = event.Delete
			return []*event.Event{w.event(id), gone}
		},
		"bare-tombstone": func(w *testWindow, i, _, _ int) []*event.Event {
			ev := w.event(fmt.Sprintf("x%d", i%1000))
			ev.Kind, ev.Contact.Stream = event.Tombstone, ""
			return []*event.Event{ev}
		},
	}
	for grows, sizes := range sizes {
		b.Run(grows, func(b *testing.B) {
			for b.Loop() {
				of := map[string]*spread{bareMap: {}}
				for kind := range kinds {
					of[kind] = &spread{}
				}
				for _, n := range sizes {
					of[bareMap].note(mapCPU(b, n.contacts, rounds) / rounds)
					w := crowd(b, n.streams, n.contacts)
					for kind, events := range kinds {
						took := leastCPU(b, func() {
							for i := range rounds {
								for _, ev := range events(w, i, n.streams, n.contacts) {
									w.Add(w.now, ev)
								}
								if w.Next(w.now) != nil || w.Wake().IsZero() {
									b.Fatal("something is ready, or nothing waits")
								}
								w.TakeEnded()
							}
						})
						of[kind].note(took / rounds)
					}
				}
				for kind, of := range of {
					b.ReportMetric(float64((of.most - of.least).Nanoseconds()), "ns-more-"+kind)
					of.report(b, "-"+kind)
				}
			}
		})
	}
}

// BenchmarkCaughtUp is the end of the catch-up of a hundred partitions with 100,000 streams: all of it for each, and
// the longest turn of the loop.
//
//	go test -run '^$' -bench CaughtUp -benchtime 3x ./batcher
func BenchmarkCaughtUp(b *testing.B) {
	const partitions, streams = 100, 100_000
	claims := laterClaims(partitions)
	var all, longest time.Duration
	for b.Loop() {
		b.StopTimer()
		w := newTestWindow(b, func(c *Config) { c.WindowBytes = 1 << 40 })
		w.Assign(w.now, claims, true)
		for i := range streams {
			w.addTo(claims[i%partitions], fmt.Sprintf("st-%d/c", i))
		}
		w.Next(w.now)
		runtime.GC()
		b.StartTimer()
		turn := func(f func()) {
			start := time.Now()
			f()
			took := time.Since(start)
			all += took
			longest = max(longest, took)
		}
		turn(func() { w.StopCatchingUp(w.now) }) // the worst: all of them at once
		for w.Wake().Equal(w.now) {
			turn(func() { w.Next(w.now); w.Wake() })
		}
	}
	b.ReportMetric(float64(all.Microseconds())/float64(b.N)/partitions, "µs/partition")
	b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest-turn")
}

// BenchmarkReady is the processor time of an event beside more and more streams that are ready and wait for the budget,
// and how much more it is with the most than with the fewest.
//
//	go test -run '^$' -bench Ready -benchtime 1x ./batcher
func BenchmarkReady(b *testing.B) {
	const rounds = 5000
	for name, change := range queues {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var of spread
				for _, streams := range []int{10, 1000, 100_000} {
					w := queued(b, streams, change)
					took := leastCPU(b, func() {
						for i := range rounds {
							w.now = w.now.Add(10 * time.Millisecond)
							w.add(fmt.Sprintf("st-%d/c", i*7919%streams))
							if w.Next(w.now) != nil || w.Wake().IsZero() {
								b.Fatal("something is sent, or nothing waits")
							}
							w.TakeEnded()
						}
					}) / rounds
					of.note(took)
				}
				of.report(b, "")
			}
		})
	}
}

// BenchmarkKept is the processor time of an event that is read, sent and delivered, beside more and more contacts of its stream that
// are tried alone, and how much more it is with the most than with the fewest.
//
//	go test -run '^$' -bench Kept -benchtime 1x ./batcher
func BenchmarkKept(b *testing.B) {
	const rounds = 2000
	for b.Loop() {
		var of spread
		for _, contacts := range []int{10, 1000, 100_000} {
			w := newTestWindow(b, func(c *Config) { c.WindowBytes, c.Linger = 1<<40, 0 })
			w.deliver("st/first")
			st := w.schedule.stream("st", "a")
			for i := range contacts {
				id := fmt.Sprint("kept", i)
				w.add("st/" + id)
				c := st.contacts[id]
				w.pending.unlink(c)
				g := newGroup([]*contact{c}, w.now.Add(time.Hour))
				g.apart, g.suspect = true, true
				w.pending.sendApart(st, g)
			}
			took := leastCPU(b, func() {
				for i := range rounds {
					w.deliver(fmt.Sprint("st/", i))
				}
			}) / rounds
			of.note(took)
		}
		of.report(b, "")
	}
}

// BenchmarkHolds is the processor time of an event that is read, sent and delivered, beside more and more streams on hold, which
// have one contact each to be probed with and more than their part of the window, and how much more it is with the most than with
// the fewest; and that of a second which passes beside the most.
//
//	go test -run '^$' -bench Holds -benchtime 1x ./batcher
func BenchmarkHolds(b *testing.B) {
	const rounds = 2000
	for b.Loop() {
		event, second := spread{}, spread{}
		for _, streams := range []int{10, 1000, 100_000} {
			w := windowOfHolds(b, streams)
			for of, do := range map[*spread]func(i int){
				&event:  func(i int) { w.deliver(fmt.Sprintf("good/c%d", i)) },
				&second: func(int) { w.now = w.now.Add(time.Millisecond); w.Expire(w.now) },
			} {
				of.note(leastCPU(b, func() {
					for i := range rounds {
						do(i)
					}
				}) / rounds)
			}
		}
		event.report(b, "-event")
		b.ReportMetric(float64(second.most.Nanoseconds()), "ns-most-second")
	}
}
