package replay

import (
	"testing"
	"time"

	"contactsync"
)

func TestPlace_After(t *testing.T) {
	t.Parallel()
	at := func(partition int32, offset int64) contactsync.Position {
		return contactsync.Position{Claim: contactsync.Claim{Topic: "t", Partition: partition}, Offset: offset}
	}
	clock := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	letter := place{version: 5, hasVersion: true, occurred: clock, origin: at(1, 50), time: clock}
	bare := place{origin: at(1, 50), time: clock} // without version and occurredAt
	with := func(change func(*place)) place {
		p := letter
		p.origin, p.time = at(1, 90), clock.Add(time.Hour)
		change(&p)
		return p
	}
	for _, c := range []struct {
		name   string
		event  place
		letter place
		want   bool
	}{
		{"itself", letter, letter, false},
		{"higher version", with(func(p *place) { p.version = 6 }), letter, true},
		{"lower version behind it", with(func(p *place) { p.version = 4 }), letter, false},
		{"lower version, later occurredAt", with(func(p *place) { p.version, p.occurred = 4, clock.Add(time.Hour) }), letter, false},
		{"higher version before it", with(func(p *place) { p.version, p.origin = 6, at(1, 10) }), letter, true},
		{"same version, later occurredAt, before it", with(func(p *place) { p.occurred, p.origin = clock.Add(1), at(1, 10) }), letter, false},
		{"same version, earlier occurredAt, behind it", with(func(p *place) { p.occurred = clock.Add(-1) }), letter, true},
		{"same version and occurredAt, behind it", with(func(*place) {}), letter, true},
		{"no version, later occurredAt", with(func(p *place) { p.hasVersion, p.occurred = false, clock.Add(1) }), letter, true},
		{"no version, earlier occurredAt, behind it", with(func(p *place) { p.hasVersion, p.occurred = false, clock.Add(-1) }), letter, false},
		{"version on one side only, behind it", with(func(p *place) { p.occurred = time.Time{} }), bare, true},
		{"neither, behind it", place{origin: at(1, 51), time: clock.Add(-time.Hour)}, bare, true},
		{"neither, before it", place{origin: at(1, 49), time: clock.Add(time.Hour)}, bare, false},
		{"other partition, later", place{origin: at(2, 1), time: clock.Add(1)}, bare, true},
		{"other partition, same time", place{origin: at(2, 1), time: clock}, bare, true},
		{"other partition, earlier", place{origin: at(2, 99), time: clock.Add(-1)}, bare, false},
		{"other partition, the letter has no time", place{origin: at(2, 1), time: clock}, place{origin: at(1, 50)}, true},
	} {
		if got := c.event.after(c.letter); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
