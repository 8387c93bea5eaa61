package event

import (
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

func TestPlace_After(t *testing.T) {
	t.Parallel()
	at := func(partition int32, offset int64) contactsync.Position {
		return contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "t", Partition: partition}, Offset: offset}
	}
	clock := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	letter := Place{Version: 5, HasVersion: true, OccurredAt: clock, Origin: at(1, 50), Time: clock}
	bare := Place{Origin: at(1, 50), Time: clock} // without version and occurredAt
	with := func(change func(*Place)) Place {
		p := letter
		p.Origin, p.Time = at(1, 90), clock.Add(time.Hour)
		change(&p)
		return p
	}
	for _, c := range []struct {
		name   string
		event  Place
		letter Place
		want   bool
	}{
		{"itself", letter, letter, false},
		{"higher version", with(func(p *Place) { p.Version = 6 }), letter, true},
		{"lower version behind it", with(func(p *Place) { p.Version = 4 }), letter, false},
		{"lower version, later occurredAt", with(func(p *Place) { p.Version, p.OccurredAt = 4, clock.Add(time.Hour) }), letter, false},
		{"higher version before it", with(func(p *Place) { p.Version, p.Origin = 6, at(1, 10) }), letter, true},
		{"same version, later occurredAt, before it", with(func(p *Place) { p.OccurredAt, p.Origin = clock.Add(1), at(1, 10) }), letter, false},
		{"same version, earlier occurredAt, behind it", with(func(p *Place) { p.OccurredAt = clock.Add(-1) }), letter, true},
		{"same version and occurredAt, behind it", with(func(*Place) {}), letter, true},
		{"no version, later occurredAt", with(func(p *Place) { p.HasVersion, p.OccurredAt = false, clock.Add(1) }), letter, true},
		{"no version, earlier occurredAt, behind it", with(func(p *Place) { p.HasVersion, p.OccurredAt = false, clock.Add(-1) }), letter, false},
		{"version on one side only, behind it", with(func(p *Place) { p.OccurredAt = time.Time{} }), bare, true},
		{"neither, behind it", Place{Origin: at(1, 51), Time: clock.Add(-time.Hour)}, bare, true},
		{"neither, before it", Place{Origin: at(1, 49), Time: clock.Add(time.Hour)}, bare, false},
		{"other partition, later", Place{Origin: at(2, 1), Time: clock.Add(1)}, bare, true},
		{"other partition, same time", Place{Origin: at(2, 1), Time: clock}, bare, true},
		{"other partition, earlier", Place{Origin: at(2, 99), Time: clock.Add(-1)}, bare, false},
		{"other partition, the letter has no time", Place{Origin: at(2, 1), Time: clock}, Place{Origin: at(1, 50)}, true},
	} {
		if got := c.event.After(c.letter); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestPlace_Said(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	version := func(n int64, at time.Time) Place { return Place{Version: n, HasVersion: true, OccurredAt: at} }
	for _, c := range []struct {
		name string
		p, q Place
		want int
	}{
		{"lower version, later time", version(1, noon.Add(1)), version(2, noon), -1},
		{"equal version, earlier time", version(2, noon), version(2, noon.Add(1)), 0},
		{"earlier time", Place{OccurredAt: noon}, Place{OccurredAt: noon.Add(1)}, -1},
		{"equal time", Place{OccurredAt: noon}, Place{OccurredAt: noon}, 0},
		{"earlier time, one version", Place{OccurredAt: noon}, version(1, noon.Add(1)), -1},
		{"one version, no time", version(1, noon), Place{}, 0},
		{"only the log differs", Place{Time: noon}, Place{Time: noon.Add(1)}, 0},
	} {
		if got := c.p.Said(c.q); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
		if got := c.q.Said(c.p); got != -c.want {
			t.Errorf("%s, the other way round: %d, want %d", c.name, got, -c.want)
		}
	}
}

// An event that stays where it is and its replay have one place, in any generation.
func TestEvent_Place(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	first := contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "t", Partition: 3}, Offset: 7}
	want := Place{Version: 5, HasVersion: true, OccurredAt: noon.Add(-1), Origin: first, Time: noon}
	contact := Contact{Version: 5, HasVersion: true, OccurredAt: noon.Add(-1)}
	live := Event{Contact: contact, Record: contactsync.Record{Position: first, Time: noon}}
	live.Record.Generation = 4
	replay := Event{Contact: contact, Replay: &Replay{Origin: first, OriginTime: noon}}
	replay.Record = contactsync.Record{Position: first, Time: noon.Add(time.Hour)}
	replay.Record.Offset, replay.Record.Generation = 90, 5
	for name, e := range map[string]Event{"live": live, "replay": replay} {
		if got := e.Place(); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}
