package upstream

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/contactsync/contactsync"
)

func TestExcerpt(t *testing.T) {
	t.Parallel()
	rows := []contactsync.Row{{ID: "contact-seven", Body: []byte(
		`{"id":"contact-seven","_id":"contact-seven","firstName":"Zoë","lastName":"O'Brien","fullName":"Zoë O'Brien","salutation":"mr",
		"cellPhone":{"extension":"+","phoneNumber":"4711","countryCode":"+91"},"notes":["Straße \"7\""]}`)}}
	secrets := []string{"opaque-token-0123456789", "", "short"}
	for text, want := range map[string]string{
		"":                             "",
		"Invalid StreamId (code 4002)": "Invalid StreamId (code 4002)",
		"duplicate 2445612345":         "duplicate ***",
		"call +91 244-561-2345 or (244) 561 2345": "call *** *** or (***",
		"used by +49/170/1234-567, see 2/3":       "used by +***, see 2/3",
		"401 4002":                                "401 4002",
		"contact-seven is unknown":                "contact-seven is unknown", // operators need ids
		"Zoë, zoë and ZOË":                        "***, *** and ***",
		"phone ٢٤٤٥٦١٢":                           "phone ***",
		"bad eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.c2ln!": "bad ***!",
		"bad eyJhb":                               "bad ***",
		"token opaque-token-0123456789.":          "token ***.",
		"token opaque-token… cut":                 "token ***… cut",
		"ZOË O'BRIEN exists, mr. mrs":             "*** exists, ***. mrs",
		"zoë's, zoëlogy":                          "***'s, zoëlogy",
		"4711 at STRAßE \"7\"":                    "*** at ***",
		"one\r\ntwo\x1b[0m\u202e\xff":             "one\\r\\ntwo\\x1b[0m\\u202e\uFFFD",
	} {
		if got := newRedactor().excerpt(text, secrets, rows); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestExcerpt_IsBounded(t *testing.T) {
	t.Parallel()
	r := newRedactor()
	for _, text := range []string{strings.Repeat("a", 199), strings.Repeat("a", 200)} {
		if got := r.excerpt(text, nil, nil); got != text {
			t.Errorf("%d bytes became %d", len(text), len(got))
		}
	}
	for _, text := range []string{strings.Repeat("a", 201), strings.Repeat("ä", 1<<20), strings.Repeat("\x00", 5000), strings.Repeat("\xff", 5000)} {
		got := r.excerpt(text, nil, nil)
		if len(got) > maxDetail || !strings.HasSuffix(got, "…") || !utf8.ValidString(got) {
			t.Errorf("got %d bytes: %q", len(got), got)
		}
	}
}

func FuzzExcerpt(f *testing.F) {
	f.Add("duplicate 2445612345 of Zebulon", `{"firstName":"Zebulon"}`)
	f.Add("İstanbul \xff\x1b", `{"x":"i̇stanbul"}`)
	r := newRedactor()
	f.Fuzz(func(t *testing.T, text, body string) {
		got := r.excerpt(text, []string{testSecret}, []contactsync.Row{{Body: []byte(body)}})
		if len(got) > maxDetail || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x1b\x00") {
			t.Fatalf("got %q", got)
		}
		if strings.Contains(got, testSecret[:secretPrefix]) {
			t.Fatalf("the secret is in %q", got)
		}
	})
}
