package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/contactsync/contactsync"
)

// minReportedSkew is the clock difference from which the detail of a 401 reports
// it. Less is covered by backdating tokens.
const minReportedSkew = tokenBackdate

// refusalDetail describes an answer that is not a 200 or 207.
func refusalDetail(resp *http.Response, body []byte) string {
	text := fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	if resp.StatusCode/100 == 3 {
		text += ": redirects are not followed, check host"
		if to, err := resp.Location(); err == nil {
			text += " (to " + to.Scheme + "://" + to.Host + ")"
		}
		return text
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil && resp.StatusCode == http.StatusUnauthorized {
		if skew := time.Since(date).Round(time.Second); skew.Abs() > minReportedSkew {
			text += fmt.Sprintf(" (our clock is %v ahead of the API's)", skew)
		}
	}
	if message := bodyText(bytes.TrimSpace(body)); message != "" {
		text += ": " + message
	}
	return text
}

// unusableDetail describes a 200 or 207 whose body could not be used, without the
// body's excerpt that err may contain: that is not masked.
func unusableDetail(status int, err error, body []byte) string {
	problem := "answer is not complete JSON"
	switch {
	case errors.Is(err, errForeignAnswer), errors.Is(err, errTooLong), errors.Is(err, errBomb), errors.Is(err, errEncoding):
		problem = err.Error()
	case len(body) == 0:
		problem = "answer is empty"
	}
	text := fmt.Sprintf("%d: %s", status, problem)
	if message := bodyText(body); message != "" {
		text += ": " + message
	}
	return text
}

// firstReason returns the reason of the first failed row.
func firstReason(rows []contactsync.Outcome) string {
	for i := range rows {
		if rows[i].Verdict == contactsync.Failed {
			return rows[i].Reason
		}
	}
	return ""
}
