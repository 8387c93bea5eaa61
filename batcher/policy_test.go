package batcher

import (
	"log/slog"
	"reflect"
	"testing"

	"github.com/contactsync/contactsync"
)

func TestPolicy_Requests(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		a    answer
		want Decision
	}{
		{"answered", answer{kind: contactsync.Answered}, Decision{rows: settleEach, rowsAnswered: true, size: sizeFits}},
		{"one row answered", answer{kind: contactsync.Answered, single: true}, Decision{rows: settleEach, rowsAnswered: true, size: sizeFits}},
		{
			"refused as a whole",
			answer{kind: contactsync.BadRequest},
			Decision{rows: halveInTurn, rowsAnswered: true, size: sizeFits, failure: true},
		},
		{
			"one row refused",
			answer{kind: contactsync.BadRequest, single: true},
			Decision{rows: refuseOnly, reason: contactsync.ReasonBadRequest, rowsAnswered: true, size: sizeFits, failure: true},
		},
		{
			"too large",
			answer{kind: contactsync.TooLarge},
			Decision{rows: halveBoth, rowsAnswered: true, size: sizeTooLarge, failure: true},
		},
		{
			"one row too large",
			answer{kind: contactsync.TooLarge, single: true},
			Decision{rows: refuseOnly, reason: contactsync.ReasonTooLarge, rowsAnswered: true, size: sizeTooLarge, failure: true},
		},
		{
			"credentials refused",
			answer{kind: contactsync.Unauthorized},
			Decision{rows: keepRows, credentialsRefused: true, suspects: true, failure: true},
		},
		{
			"credentials refused again",
			answer{kind: contactsync.Unauthorized, warned: true},
			Decision{rows: keepRows, hold: holdUnauthorized, credentialsRefused: true, suspects: true, failure: true},
		},
		{
			"credentials refused for rows that are tried apart",
			answer{kind: contactsync.Unauthorized, warned: true, suspected: true},
			Decision{rows: keepRows, suspects: true, failure: true},
		},
		{"stream unknown", answer{kind: contactsync.StreamGone}, Decision{rows: keepRows, hold: holdGone, suspects: true, failure: true}},
		{"stream unknown, for its rows perhaps", answer{kind: contactsync.StreamGone, blame: blameRows}, Decision{rows: halveInTurn, failure: true}},
		{"stream unknown, for its row perhaps", answer{kind: contactsync.StreamGone, blame: blameRow}, Decision{rows: keepAlone, failure: true}},
		{
			"throttled",
			answer{kind: contactsync.Throttled},
			Decision{rows: keepRows, failure: true, outage: true, level: slog.LevelWarn},
		},
		{
			"throttled in part",
			answer{kind: contactsync.Throttled, applied: true},
			Decision{rows: keepRows, rowsAnswered: true, failure: true, outage: true, level: slog.LevelWarn},
		},
		{
			"unavailable",
			answer{kind: contactsync.Unavailable},
			Decision{rows: keepRows, suspects: true, backOff: true, outcomeUnknown: true, failure: true, outage: true, level: slog.LevelWarn},
		},
		{
			"a larger request than ever passed is too large",
			answer{kind: contactsync.TooLarge, trial: true},
			Decision{rows: keepRows, rowsAnswered: true, size: sizeTooLarge, failure: true},
		},
		{
			"a larger request than ever passed is not answered",
			answer{kind: contactsync.Unavailable, trial: true},
			Decision{rows: keepRows, size: sizeTooLarge, outcomeUnknown: true, failure: true},
		},
		{
			"nor understood",
			answer{kind: contactsync.Unknown, trial: true},
			Decision{rows: keepRows, size: sizeTooLarge, outcomeUnknown: true, failure: true},
		},
		{
			"unknown",
			answer{kind: contactsync.Unknown},
			Decision{rows: keepRows, suspects: true, backOff: true, outcomeUnknown: true, failure: true, outage: true, level: slog.LevelError},
		},
		{
			"a kind that is not in the table",
			answer{kind: 200},
			Decision{rows: keepRows, suspects: true, backOff: true, outcomeUnknown: true, failure: true, outage: true, level: slog.LevelError},
		},
		{"our own stop", answer{kind: contactsync.Canceled}, Decision{rows: keepRows}},
	} {
		got := *decide(tt.a)
		got.Kind, got.When, got.Then, got.match = 0, "", "", nil
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v\nwant %+v", tt.name, got, tt.want)
		}
	}
}

// Every kind has a decision of its own that fits whatever else is known, and one
// that applies to some answers only says to which.
func TestPolicy_IsComplete(t *testing.T) {
	t.Parallel()
	for _, kind := range contactsync.Kinds() {
		for _, a := range []answer{{kind: kind}, {kind: kind, single: true}, {kind: kind, warned: true}, {kind: kind, single: true, warned: true}, {kind: kind, trial: true}} {
			if d := decide(a); d.Kind != kind {
				t.Errorf("%+v is decided as %v", a, d.Kind)
			}
		}
	}
	lines := map[contactsync.Kind]int{}
	for _, d := range Policy() {
		lines[d.Kind]++
	}
	for _, d := range Policy() {
		if d.Then == "" || (d.When == "") != (lines[d.Kind] == 1) {
			t.Errorf("%v: %q: %q", d.Kind, d.When, d.Then)
		}
	}
	for _, d := range RowPolicy() {
		if d.When == "" || d.Then == "" {
			t.Errorf("%q: %q", d.When, d.Then)
		}
	}
}

func TestPolicy_Rows(t *testing.T) {
	t.Parallel()
	var (
		delivered = contactsync.Outcome{Verdict: contactsync.Delivered}
		rejected  = contactsync.Outcome{Verdict: contactsync.Failed, Reason: "taken"}
		transient = contactsync.Outcome{Verdict: contactsync.Failed, Reason: "busy", Transient: true}
		mute      = contactsync.Outcome{Verdict: contactsync.Failed}
		missing   = contactsync.Outcome{}
	)
	for _, tt := range []struct {
		name   string
		o      contactsync.Outcome
		c      circumstances
		action rowAction
		reason contactsync.Reason
	}{
		{"accepted", delivered, circumstances{}, rowDelivered, ""},
		{"accepted by the last answer", delivered, circumstances{last: true}, rowDelivered, ""},
		{"rejected", rejected, circumstances{}, rowRefused, contactsync.ReasonRejected},
		{"rejected beside others that are accepted", rejected, circumstances{others: true}, rowOnceMore, ""},
		{"transient beside others", transient, circumstances{others: true}, rowRetried, ""},
		{"never accounted for beside others", missing, circumstances{last: true, others: true}, rowRefused, contactsync.ReasonUnresolved},
		{"transient", transient, circumstances{}, rowRetried, ""},
		{"transient to the last", transient, circumstances{last: true}, rowRefused, contactsync.ReasonRejected},
		{"no reason", mute, circumstances{}, rowRetried, ""},
		{"no reason to the last", mute, circumstances{last: true}, rowRefused, contactsync.ReasonRejected},
		{"not accounted for", missing, circumstances{}, rowRetried, ""},
		{"never accounted for", missing, circumstances{last: true}, rowRefused, contactsync.ReasonUnresolved},
	} {
		if d := decideRow(tt.o, tt.c); d.action != tt.action || d.reason != tt.reason {
			t.Errorf("%s: %+v, want %v, %v", tt.name, d, tt.action, tt.reason)
		}
	}
}
