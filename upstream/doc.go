// Package upstream calls the bulk-update API: one request for one batch, and
// what the answer means. It promises:
//
//   - Send makes one request: nothing beneath it retries or follows a redirect, and the API receives the rows byte for
//     byte. One that a used connection ends without a byte of an answer is made once more, on a connection of its own and
//     at the budget's expense.
//   - Every result has a Kind from one table (Table). What the table does not
//     know is Unknown: keep the rows and send them again. A row is Delivered only
//     if the answer says so without contradicting itself (I1).
//   - A batch is sent only to its own stream, with the credentials and on the
//     host of its own account (I12).
//   - A Gate admits requests within the account's budget (I7), waits as long as
//     the API asks, and admits none while the circuit breaker of the host is open.
//   - Results, errors, log lines and metrics contain no token, no secret and no
//     contact value (I11).
//
// A Client starts no goroutine. Send works on the caller's, and so does Run, which
// watches the credential files and refreshes gauges. Client, Gate and Router are
// safe for concurrent use.
//
// But for that, the package does not retry, split or hold anything, and keeps no state of rows.
// The caller decides that from the Result.
package upstream
