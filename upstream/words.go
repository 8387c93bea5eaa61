package upstream

import (
	"net/http"
	"slices"
	"strings"
	"unicode"
)

// What may be written of an answer: received bytes choose among the words here and those
// of the settings, and none is copied.

// sentences are whole messages, as normalized returns them, and how they are called.
// The phrases of HTTP are messages too; see statusSentence.
var sentences = map[string]string{
	"invalid jwt token":                     "invalid_jwt",
	"invalid sdk credentials":               "invalid_sdk_credentials",
	"permission denied. scope is incorrect": "scope_incorrect",
	"invalid streamid":                      "invalid_stream_id",
	"invalid file id":                       "invalid_file_id",
	"validation errors/ invalid arguments":  "invalid_arguments",
	"unauthorized to perform this activity": "not_permitted",
	"error verifying the jwt: if \"jti\" claim \"exp\" must be <= 1 hour(s)": "jti_lives_too_long",
	"contact not found":           "contact_not_found",
	"duplicate number":            "duplicate_number",
	"phone number already exists": "phone_number_exists",
}

// statusSentence returns what a message is called that is one of HTTP's phrases.
func statusSentence(message string) string {
	for status := http.StatusBadRequest; status <= http.StatusNetworkAuthenticationRequired; status++ {
		if text := strings.ToLower(http.StatusText(status)); text != "" && text == message {
			return strings.NewReplacer(" ", "_", "-", "_", "'", "").Replace(text)
		}
	}
	return ""
}

// identifiers are what programs write in the place of a message, or in one. There is no
// pattern for them: GARCIA has the same form.
var identifiers = set(
	"BAD_REQUEST", "BadRequest", "CastError", "CONFLICT", "DUPLICATE", "DUPLICATE_KEY", "DUPLICATE_VALUE", "E11000", "FORBIDDEN",
	"INTERNAL_ERROR", "INTERNAL_SERVER_ERROR", "INVALID", "INVALID_ARGUMENT", "INVALID_VALUE", "MongoError", "MongoServerError",
	"NOT_FOUND", "NotFound", "RATE_LIMIT_EXCEEDED", "REQUIRED", "TIMEOUT", "TOO_MANY_REQUESTS", "UNAUTHORIZED", "UNAVAILABLE",
	"VALIDATION_ERROR", "ValidationError", "time_in_past",
)

// fields are the names that the vendor documents for what a request holds.
var fields = set(
	"accountId", "cellPhone", "countryCode", "extension", "firstName", "fullName", "lastName", "phoneNumber", "salutation", "streamId",
)

// tags are what many words come to.
var tags = []struct {
	tag   string
	words []string // in lower case
}{
	{"duplicate", []string{"duplicate", "already exists", "already in use", "already used", "must be unique", "is taken"}},
	{"required", []string{"required", "is missing", "must not be empty", "cannot be empty", "mandatory"}},
	{"expired", []string{"expired"}},
}

// codes are the numbers beside HTTP's statuses that the vendor writes.
var codes = set("4002")

func set(words ...string) map[string]bool {
	s := make(map[string]bool, len(words))
	for _, word := range words {
		s[word] = true
	}
	return s
}

// normalized returns a message as the table has it: in lower case, with single blanks,
// plain apostrophes, and without what ends a sentence.
func normalized(message string) string {
	message = strings.ToLower(strings.Join(strings.Fields(message), " "))
	return strings.TrimRight(strings.ReplaceAll(message, "’", "'"), ".!? ")
}

// found are the words that a part of an answer chooses, each once and in its order.
type found []string

func (f *found) add(kind, word string) {
	word = kind + "=" + word
	if !slices.Contains(*f, word) {
		*f = append(*f, word)
	}
}

// words returns what the text chooses of the tables; known are the sentences of the settings.
func (t *errorText) words(known map[string]string) found {
	var f found
	for _, message := range t.messages {
		whole := normalized(message)
		switch id := known[whole]; {
		case id != "":
			f.add("sentence", id)
		case sentences[whole] != "":
			f.add("sentence", sentences[whole])
		case rateLimit.MatchString(whole):
			f.add("sentence", "rate_limit")
		default:
			if id := statusSentence(whole); id != "" {
				f.add("sentence", id)
			}
		}
	}
	for _, code := range t.codes {
		if codes[code] || len(code) == 3 && code[0] >= '1' && code[0] <= '5' {
			f.add("code", code)
		}
	}
	texts := t.messages
	if len(texts) == 0 {
		texts = t.others
	}
	for _, text := range texts {
		for word := range strings.FieldsFuncSeq(text, notOfName) {
			switch {
			case identifiers[word]:
				f.add("identifier", word)
			case fields[word]:
				f.add("field", word)
			}
		}
		lower := strings.ToLower(text)
		for _, tag := range tags {
			for _, words := range tag.words {
				if strings.Contains(lower, words) {
					f.add("tag", tag.tag)
					break
				}
			}
		}
	}
	return f
}

// notOfName splits a text into names as programs write them.
func notOfName(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }
