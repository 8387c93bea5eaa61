package leak

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"html"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Found is a planted text, and the first encoding that it was found in.
type Found struct {
	Text, Encoding string
}

// encodings read a text in one way each. Case and normalization (NFC, NFD) count in none.
var encodings = []struct {
	name string
	read func(text []byte) [][]byte
}{
	{"as it is, NFD, other case", func(text []byte) [][]byte { return [][]byte{text} }},
	{`escapes: JSON \u, Go %q and %+q, C`, one(unescape)},
	{"HTML entities", one(func(text []byte) []byte { return []byte(html.UnescapeString(string(text))) })},
	{"URL, path", one(percent)},
	{"URL, query", one(func(text []byte) []byte { return percent(bytes.ReplaceAll(text, []byte("+"), []byte(" "))) })},
	{"several of these", nested},
	{"base64, at any place in it", func(text []byte) [][]byte { return fromBase64(text, base64.RawStdEncoding, "+/") }},
	{"base64url, at any place in it", func(text []byte) [][]byte { return fromBase64(text, base64.RawURLEncoding, "-_") }},
	{"hex", fromHex},
	{"bytes in decimal", one(fromDecimal)},
	{"UTF-16LE", func(text []byte) [][]byte { return fromUTF16(text, 1) }},
	{"UTF-16BE", func(text []byte) [][]byte { return fromUTF16(text, 0) }},
	{"digits without punctuation", nil}, // of numbers only
}

// Encodings names them.
func Encodings() []string {
	names := make([]string, len(encodings))
	for i, e := range encodings {
		names[i] = e.name
	}
	return names
}

// Search returns each planted text that is somewhere in text, once.
func Search(text []byte) []Found {
	missing := needles()
	var found []Found
	for _, e := range encodings {
		var views [][]byte
		if e.read != nil {
			for _, view := range e.read(text) {
				views = append(views, normal(view))
			}
		} else {
			views = [][]byte{digits(text)}
		}
		var rest []needle
		for _, n := range missing {
			sought := n.text
			if e.read == nil {
				sought = n.digits
			}
			if sought != nil && anyContains(views, sought) {
				found = append(found, Found{n.planted, e.name})
			} else {
				rest = append(rest, n)
			}
		}
		missing = rest
	}
	return found
}

// needle is a planted text as views of a text have it.
type needle struct {
	planted string
	text    []byte
	digits  []byte // nil unless it is a number
}

var needles = sync.OnceValue(func() []needle {
	var all []needle
	for _, text := range Planted() {
		n := needle{planted: text, text: normal([]byte(text))}
		if !strings.ContainsFunc(text, unicode.IsLetter) {
			n.digits = digits([]byte(text))
		}
		all = append(all, n)
	}
	return all
})

func anyContains(views [][]byte, text []byte) bool {
	for _, view := range views {
		if bytes.Contains(view, text) {
			return true
		}
	}
	return false
}

func normal(text []byte) []byte { return norm.NFC.Bytes(bytes.ToLower(norm.NFC.Bytes(text))) }

func one(read func([]byte) []byte) func([]byte) [][]byte {
	return func(text []byte) [][]byte { return [][]byte{read(text)} }
}

var (
	escape    = regexp.MustCompile(`\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[0-7]{3}|["'/\\])`)
	percented = regexp.MustCompile(`(?:%[0-9a-fA-F]{2})+`)
	hexBytes  = regexp.MustCompile(`[0-9a-fA-F]{2}(?:[ :,]{0,2}(?:0x)?[0-9a-fA-F]{2}){6,}[0-9a-fA-F]?`)
	noHex     = regexp.MustCompile(`[ :,]|0x`)
	decimals  = regexp.MustCompile(`\d{1,3}(?:[ ,]{1,2}\d{1,3}){6,}`)
	number    = regexp.MustCompile(`\d+`)
)

// unescape reads what stands behind backslashes.
func unescape(text []byte) []byte {
	return escape.ReplaceAllFunc(text, func(e []byte) []byte {
		base, code := 16, string(e[2:])
		switch e[1] {
		case '"', '\'', '/', '\\':
			return e[1:]
		case 'u', 'U', 'x':
		default:
			base, code = 8, string(e[1:])
		}
		if len(e) == 12 { // a pair of surrogates
			hi, _ := strconv.ParseUint(code[:4], 16, 16) // the pattern lets only digits pass
			lo, _ := strconv.ParseUint(code[6:], 16, 16)
			return utf8.AppendRune(nil, utf16.DecodeRune(rune(hi), rune(lo)))
		}
		r, _ := strconv.ParseUint(code, base, 32)
		if e[1] == 'u' || e[1] == 'U' {
			return utf8.AppendRune(nil, rune(r))
		}
		return []byte{byte(r)}
	})
}

func percent(text []byte) []byte {
	return percented.ReplaceAllFunc(text, func(e []byte) []byte {
		plain, _ := url.PathUnescape(string(e)) // the pattern lets only escapes pass
		return []byte(plain)
	})
}

// nested reads escapes within escapes: an error quotes what a log quotes again. Each depth
// counts, because a text may have backslashes of its own.
func nested(text []byte) [][]byte {
	var views [][]byte
	for range 3 {
		text = percent([]byte(html.UnescapeString(string(unescape(text)))))
		views = append(views, text)
	}
	return views
}

// fromBase64 reads every run of the alphabet's letters from each of four places, because a
// text may stand anywhere in what was encoded.
func fromBase64(text []byte, encoding *base64.Encoding, last string) [][]byte {
	letters := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" + last
	views := make([][]byte, 4)
	for run := range bytes.FieldsFuncSeq(text, func(r rune) bool { return !strings.ContainsRune(letters, r) }) {
		for from := range min(4, len(run)) {
			part := run[from:]
			if len(part)%4 == 1 {
				part = part[:len(part)-1]
			}
			plain, _ := encoding.DecodeString(string(part)) // as far as it goes
			views[from] = append(append(views[from], plain...), '\n')
		}
	}
	return views
}

// fromHex reads runs of hexadecimal digits from both places, also where bytes stand apart.
func fromHex(text []byte) [][]byte {
	views := make([][]byte, 2)
	for _, run := range hexBytes.FindAll(text, -1) {
		run = noHex.ReplaceAll(run, nil)
		for from := range views {
			part := run[from:]
			plain, _ := hex.DecodeString(string(part[:len(part)/2*2])) // as far as it goes
			views[from] = append(append(views[from], plain...), '\n')
		}
	}
	return views
}

// fromDecimal reads lists of numbers as bytes, as fmt prints a []byte.
func fromDecimal(text []byte) []byte {
	var view []byte
	for _, run := range decimals.FindAll(text, -1) {
		for _, n := range number.FindAll(run, -1) {
			b, _ := strconv.Atoi(string(n)) // the pattern lets only digits pass
			view = append(view, byte(b))
		}
		view = append(view, '\n')
	}
	return view
}

// fromUTF16 reads units of two bytes from both places; high is the place of the higher byte.
func fromUTF16(text []byte, high int) [][]byte {
	var views [][]byte
	for from := range 2 {
		var units []uint16
		for i := from; i+1 < len(text); i += 2 {
			units = append(units, uint16(text[i+high])<<8|uint16(text[i+1-high]))
		}
		views = append(views, []byte(string(utf16.Decode(units))))
	}
	return views
}

// digits leaves the digits alone, in ASCII, of numbers that other than blanks and punctuation
// stand between.
func digits(text []byte) []byte {
	var view []byte
	gap := 0
	for _, r := range string(nested(text)[2]) {
		switch {
		case unicode.IsDigit(r):
			if gap > 3 {
				view = append(view, '\n')
			}
			view, gap = append(view, byte('0'+digit(r))), 0
		case strings.ContainsRune(" ()-./+\u00a0", r):
			gap++
		default:
			gap = 4
		}
	}
	return view
}

// zeros are the zeros of scripts; their other digits follow.
var zeros = []rune{'0', '٠', '۰', '०', '๐', '０'}

// digit is the value of a digit; 0 where its script is none of these.
func digit(r rune) int {
	for _, zero := range zeros {
		if r >= zero && r < zero+10 {
			return int(r - zero)
		}
	}
	return 0
}
