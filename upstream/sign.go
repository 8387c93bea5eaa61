package upstream

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// sign is what a member says by its name and value about how an update went.
type sign uint8

const (
	signNone sign = iota
	signSuccess
	signFailure
)

// signOf reads a member of an answer, or of one of its records. Only what cannot be
// taken for a contact's own member is a sign: a status may be "ACTIVE".
func signOf(name string, value jsontext.Value) sign {
	kind := value.Kind()
	switch strings.ToLower(name) {
	case "success", "succeeded", "ok", "updated", "applied":
		return yesNo(kind, signSuccess, signFailure)
	case "failed", "failure":
		return yesNo(kind, signFailure, signNone)
	case "error", "errors", "errormessage", "errorcode":
		switch string(bytes.Join(bytes.Fields(value), nil)) {
		case "null", `""`, "[]", "{}", "false", "0":
			return signNone
		}
		return signFailure
	case "status", "state", "result", "code", "statuscode", "customcode":
		return statusSign(kind, value)
	}
	return signNone
}

func yesNo(kind jsontext.Kind, yes, no sign) sign {
	switch kind {
	case 't':
		return yes
	case 'f':
		return no
	}
	return signNone
}

func statusSign(kind jsontext.Kind, value jsontext.Value) sign {
	if kind != '"' && kind != '0' {
		return signNone
	}
	word := strings.ToLower(string(bytes.Trim(value, `"`)))
	switch word {
	case "failed", "failure", "fail", "error", "rejected", "refused":
		return signFailure
	case "success", "succeeded", "successful", "ok":
		return signSuccess
	}
	if n, err := strconv.Atoi(word); err == nil && n >= 400 && n < 600 {
		return signFailure
	}
	return signNone
}
