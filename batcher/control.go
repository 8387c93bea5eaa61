package batcher

import (
	"context"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// Add hands over events, in the order of their offsets within each partition. It
// blocks while the window is full. The events and what they point to are the
// batcher's from then on.
func (b *Batcher) Add(ctx context.Context, events []event.Event) error {
	select {
	case b.in <- events:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-b.stopped:
		return errStopped
	}
}

// Assign makes the claims of a generation known; events of others are left out.
// See Window.Assign.
func (b *Batcher) Assign(claims []contactsync.Claim, catchUp bool) {
	b.do(func(now time.Time) { b.window.Assign(now, claims, catchUp) })
}

// CaughtUp says that a claim's contacts may be sent. See Window.CaughtUp.
func (b *Batcher) CaughtUp(c contactsync.Claim) {
	b.do(func(now time.Time) { b.window.CaughtUp(now, c) })
}

// ReadAgain says whether events of a claim that were left may be handed over again. See
// Parking.ReadAgain. When it returns, all that was left before the reading begins was passed to the Acker, and so was what is left to make room
// for it: it is where the reading begins, or an event would be handed over before an older one of its contact.
func (b *Batcher) ReadAgain(c contactsync.Claim) (pass int) {
	b.do(func(now time.Time) {
		pass = Parking{b.window}.ReadAgain(now, c)
		b.passOn()
	})
	return pass
}

// ReadAgainDone says that they have been. See Parking.ReadAgainDone.
func (b *Batcher) ReadAgainDone(c contactsync.Claim, pass, gone int) {
	b.do(func(now time.Time) { Parking{b.window}.ReadAgainDone(now, c, pass, gone) })
}

// Release gives all claims back: it starts nothing more, waits for what is in flight, and
// drops the rest. When ctx ends first, requests in flight are given up
// and the cause of ctx is returned. In both cases no request is in flight
// afterwards, and none will start (I4). Nothing may be added once Release
// is called, and nothing assigned before it has returned. It returns until when the API
// may still apply requests that ended without a usable answer.
func (b *Batcher) Release(ctx context.Context) (atWork time.Time, err error) {
	done := make(chan struct{})
	defer func() { b.do(func(time.Time) { atWork = b.window.AtWorkUntil() }) }()
	lost := ctx.Err() != nil // nothing of the partitions is sent any more
	b.do(func(now time.Time) {
		b.releases = append(b.releases, done)
		if lost {
			b.giveUp(now)
		} else {
			b.window.Drain(now)
		}
	})
	if !lost {
		select {
		case <-done:
			return atWork, nil
		case <-b.stopped:
			return atWork, errStopped
		case <-ctx.Done():
		}
		select {
		case <-done: // in the same moment
			return atWork, nil
		default:
		}
		b.do(b.giveUp)
	}
	select {
	case <-done:
	case <-b.stopped:
	}
	return atWork, context.Cause(ctx)
}

// giveUp ends the requests in flight and drops everything else.
func (b *Batcher) giveUp(now time.Time) {
	for req := range b.window.requests {
		req.cancel()
		b.window.mayApply(later(req.started.Add(b.deps.RequestTimeout), now.Add(b.cfg.AmbiguousRetryDelay)))
	}
	b.window.Forget(now)
}

// do has the loop call f between two of its rounds, and waits until it has.
func (b *Batcher) do(f func(now time.Time)) { _ = b.within(context.Background(), f) }

// within does so unless ctx ends before the loop comes to it.
func (b *Batcher) within(ctx context.Context, f func(now time.Time)) error {
	done := make(chan struct{})
	select {
	case b.control <- func(now time.Time) { f(now); close(done) }:
		<-done
		return nil
	case <-b.stopped:
		return errStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ReleaseHold ends the hold of a stream, as an operator's decision: its next request is
// made at once, also where its account is on hold. account may be empty where the stream
// lies in one only.
func (b *Batcher) ReleaseHold(account, stream string) error {
	err := errStopped
	b.do(func(now time.Time) { err = decisions{b.window}.release(now, account, stream) })
	return err
}

// SetHoldAside has the contacts that wait in a stream on hold become dead letters, as an
// operator's decision.
func (b *Batcher) SetHoldAside(account, stream, reason string) error {
	err := errStopped
	b.do(func(now time.Time) { err = decisions{b.window}.setAside(now, account, stream, reason) })
	return err
}

// CredentialRenewed says that what signs for an account is another one now, or for one of its apps, so that streams on hold
// for it are tried at once.
func (b *Batcher) CredentialRenewed(account, app string) {
	b.do(func(now time.Time) { decisions{b.window}.credentialRenewed(now, account, app) })
}

// Status reports what is pending, and what is on hold and why. It fails where ctx ends before the loop has answered, and
// after a stop.
func (b *Batcher) Status(ctx context.Context) (Status, error) {
	var s Status
	err := b.within(ctx, func(now time.Time) { s = b.window.Status(now) })
	return s, err
}

// Stuck returns why the batcher will not go on by itself, for at least the given
// time, and the empty string while it works. A refusing API is not such a reason.
func (b *Batcher) Stuck(now time.Time, after time.Duration) string {
	if beat := b.beat.Load(); beat != 0 && now.Sub(time.Unix(0, beat)) > after {
		return "the batcher's loop does not turn"
	}
	if idle := b.idle.Load(); idle != 0 && now.Sub(time.Unix(0, idle)) > after {
		return "contacts are pending that nothing would ever send"
	}
	return ""
}
