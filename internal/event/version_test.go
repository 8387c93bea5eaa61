package event

import (
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

func TestVersion_NewerThan(t *testing.T) {
	t.Parallel()
	at := func(partition int32, offset int64) contactsync.Position {
		return contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "t", Partition: partition}, Offset: offset}
	}
	clock := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	letter := Version{Number: 5, HasNumber: true, OccurredAt: clock, Origin: at(1, 50), Time: clock}
	bare := Version{Origin: at(1, 50), Time: clock} // without version and occurredAt
	with := func(change func(*Version)) Version {
		p := letter
		p.Origin, p.Time = at(1, 90), clock.Add(time.Hour)
		change(&p)
		return p
	}
	for _, c := range []struct {
		name   string
		event  Version
		letter Version
		want   bool
	}{
		{"itself", letter, letter, false},
		{"higher version", with(func(p *Version) { p.Number = 6 }), letter, true},
		{"lower version behind it", with(func(p *Version) { p.Number = 4 }), letter, false},
		{"lower version, later occurredAt", with(func(p *Version) { p.Number, p.OccurredAt = 4, clock.Add(time.Hour) }), letter, false},
		{"higher version before it", with(func(p *Version) { p.Number, p.Origin = 6, at(1, 10) }), letter, true},
		{"same version, later occurredAt, before it", with(func(p *Version) { p.OccurredAt, p.Origin = clock.Add(1), at(1, 10) }), letter, false},
		{"same version, earlier occurredAt, behind it", with(func(p *Version) { p.OccurredAt = clock.Add(-1) }), letter, true},
		{"same version and occurredAt, behind it", with(func(*Version) {}), letter, true},
		{"no version, later occurredAt", with(func(p *Version) { p.HasNumber, p.OccurredAt = false, clock.Add(1) }), letter, true},
		{"no version, earlier occurredAt, behind it", with(func(p *Version) { p.HasNumber, p.OccurredAt = false, clock.Add(-1) }), letter, false},
		{"version on one side only, behind it", with(func(p *Version) { p.OccurredAt = time.Time{} }), bare, true},
		{"neither, behind it", Version{Origin: at(1, 51), Time: clock.Add(-time.Hour)}, bare, true},
		{"neither, before it", Version{Origin: at(1, 49), Time: clock.Add(time.Hour)}, bare, false},
		{"other partition, later", Version{Origin: at(2, 1), Time: clock.Add(1)}, bare, true},
		{"other partition, same time", Version{Origin: at(2, 1), Time: clock}, bare, true},
		{"other partition, earlier", Version{Origin: at(2, 99), Time: clock.Add(-1)}, bare, false},
		{"other partition, the letter has no time", Version{Origin: at(2, 1), Time: clock}, Version{Origin: at(1, 50)}, true},
	} {
		if got := c.event.NewerThan(c.letter); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestVersion_CompareDeclared(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	version := func(n int64, at time.Time) Version { return Version{Number: n, HasNumber: true, OccurredAt: at} }
	for _, c := range []struct {
		name string
		p, q Version
		want int
	}{
		{"lower version, later time", version(1, noon.Add(1)), version(2, noon), -1},
		{"equal version, earlier time", version(2, noon), version(2, noon.Add(1)), 0},
		{"earlier time", Version{OccurredAt: noon}, Version{OccurredAt: noon.Add(1)}, -1},
		{"equal time", Version{OccurredAt: noon}, Version{OccurredAt: noon}, 0},
		{"earlier time, one version", Version{OccurredAt: noon}, version(1, noon.Add(1)), -1},
		{"one version, no time", version(1, noon), Version{}, 0},
		{"only the log differs", Version{Time: noon}, Version{Time: noon.Add(1)}, 0},
	} {
		if got := c.p.CompareDeclared(c.q); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
		if got := c.q.CompareDeclared(c.p); got != -c.want {
			t.Errorf("%s, the other way round: %d, want %d", c.name, got, -c.want)
		}
	}
}

// An event that stays where it is and its replay have one version, in any generation.
func TestEvent_Version(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	first := contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "t", Partition: 3}, Offset: 7}
	want := Version{Number: 5, HasNumber: true, OccurredAt: noon.Add(-1), Origin: first, Time: noon}
	contact := Contact{Version: 5, HasVersion: true, OccurredAt: noon.Add(-1)}
	live := Event{Contact: contact, Record: contactsync.Record{Position: first, Time: noon}}
	live.Record.Generation = 4
	replay := Event{Contact: contact, Replay: &Replay{Origin: first, OriginTime: noon}}
	replay.Record = contactsync.Record{Position: first, Time: noon.Add(time.Hour)}
	replay.Record.Offset, replay.Record.Generation = 90, 5
	for name, e := range map[string]Event{"live": live, "replay": replay} {
		if got := e.Version(); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}
