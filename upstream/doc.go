// Package upstream makes one attempt to deliver one batch and says what became
// of it. It promises:
//
//   - Send makes exactly one request: nothing below it retries, replays or
//     follows a redirect, and the API sees the bytes of the rows as they are.
//   - Every end of an attempt has one Kind, from one table (Table). What the
//     table does not know is Unknown, which means keep and send again. A row is
//     Delivered only where the answer says so without contradicting itself (I1).
//   - A batch goes only to its own stream, with the credentials of its own
//     account, on the host configured for it (I12).
//   - Per account, the starts that a Gate admits stay within the account's budget
//     (I7), wait as long as the API asks, and stop while its host is down.
//   - No token, secret or value of a contact reaches a Result, an error, a log
//     line or a series (I11).
//
// A Client starts no goroutine of its own: Send works on its caller's, and Run,
// which watches the credential files and refreshes gauges, on that of whoever
// calls it. Client, Gate and Router are safe for concurrent use.
//
// The package does not retry, split or hold anything; that is decided by whoever
// cuts the batches. It keeps no memory of rows.
package upstream
