// Package stub is an HTTP server that behaves like the "Update Bulk Contacts" API,
// and misbehaves on demand. It records every call and counts what a correct client
// never does.
//
// A call goes through these checks in this order; the first that fails answers it:
//
//	method             405
//	auth, accountId    401, in the vendor's bodies (see auth.go)
//	rate limit         429 by default, with the vendor's text
//	size, JSON, fields 413, 400, 412
//
// Then the rules of the scenario apply (see Scenario). Where none fires, the rows
// are applied and answered as the vendor does.
//
// What is counted (Stats): a lower "seq" applied after a higher one of the same
// contact, the same seq applied again, two calls in flight with the same contact,
// calls above the rate limit, calls for a stream of another account. A call is in
// flight from the arrival of its body until just before the end of its answer is
// written, or until its client goes away; so the way of the answer and calls that
// were given up are not held against a correct client. Rows that are applied after
// their client has gone, as a real server does, are counted separately: no client
// can prevent them.
//
// Besides the API the handler serves /stats (a page), /stats.json,
// /state.json[?stream=], /fault (GET lists the rules; POST adds or replaces one;
// POST ?name=N&off=true|false switches one) and POST /reset.
//
// The Server owns the goroutines of its listener and of the rows it applies late.
// Close ends them all. No contact field is kept or logged.
package stub
