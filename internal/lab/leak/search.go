package leak

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"html"
	"net/url"
	"regexp"
	"slices"
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

// The encodings that are looked for. Case and normalization (NFC, NFD) count in none.
const (
	plain      = "as it is, NFD, other case"
	severalOf  = "several of these"
	digitsOnly = "digits without punctuation" // of numbers only
	utf16LE    = "UTF-16LE"
	utf16BE    = "UTF-16BE"
)

// ofText are those that write a text as another one, and what reads them.
var ofText = []struct {
	name string
	read func(text []byte) []byte
}{
	{`escapes: JSON \u, Go %q and %+q, C`, unescape},
	{"HTML entities", func(text []byte) []byte { return []byte(html.UnescapeString(string(text))) }},
	{"URL, path", percent},
	{"URL, query", query},
}

// ofBytes are those that write bytes, whatever these are; each of the results is what is there if
// it began at another place.
var ofBytes = []struct {
	name string
	read func(text []byte) [][]byte
}{
	{"base64, at any place in it", func(text []byte) [][]byte { return fromBase64(text, base64.RawStdEncoding, "+/") }},
	{"base64url, at any place in it", func(text []byte) [][]byte { return fromBase64(text, base64.RawURLEncoding, "-_") }},
	{"hex", fromHex},
	{"bytes in decimal", func(text []byte) [][]byte { return [][]byte{fromDecimal(text)} }},
}

// Encodings names them.
func Encodings() []string {
	names := []string{plain}
	for _, e := range ofText {
		names = append(names, e.name)
	}
	for _, e := range ofBytes {
		names = append(names, e.name)
	}
	return append(names, utf16LE, utf16BE, severalOf, digitsOnly)
}

// Search returns each planted text that is somewhere in text, once.
func Search(text []byte) []Found {
	s := &search{found: map[string]string{}}
	s.in(plain, text)
	for _, e := range ofText {
		s.in(e.name, e.read(text))
	}
	s.below(text)
	s.twice(text)
	s.inDigits(text)
	var all []Found
	for _, n := range needles() {
		if e, ok := s.found[n.planted]; ok {
			all = append(all, Found{n.planted, e})
		}
	}
	return all
}

// search is one of a text.
type search struct {
	found    map[string]string // the first encoding of each planted text
	encoding string            // what all that is found is noted as; empty: as what it is
}

// below looks for what is escaped more than once, and for bytes in all of that.
func (s *search) below(text []byte) {
	for _, layer := range layers(text) {
		s.in(severalOf, layer)
		s.seek(utf16LE, layer, indexLE())
		s.seek(utf16BE, layer, indexBE())
		for _, e := range ofBytes {
			if s.done() {
				return
			}
			for _, view := range e.read(layer) {
				s.in(e.name, view)
			}
		}
	}
}

// twice looks for bytes that are encoded once more: a log writes a []byte in base64, whatever is in it.
func (s *search) twice(text []byte) {
	for _, e := range ofBytes {
		for _, view := range e.read(text) {
			if s.done() {
				return
			}
			deeper := search{found: s.found, encoding: severalOf}
			deeper.below(view)
		}
	}
}

func (s *search) done() bool { return len(s.found) == len(needles()) }

// in looks for all texts in a view.
func (s *search) in(encoding string, view []byte) {
	if !s.done() {
		s.seek(encoding, normal(view), index())
	}
}

// seek notes what an index finds in a view.
func (s *search) seek(encoding string, view []byte, x *beginnings) {
	for i := 0; i+keyLength <= len(view); i++ {
		if !x.begins[uint16(view[i])<<8|uint16(view[i+1])] {
			continue
		}
		for _, sought := range x.by[string(view[i:i+keyLength])] {
			if bytes.HasPrefix(view[i:], sought.text) {
				s.note(sought.needle, encoding)
			}
		}
	}
}

func (s *search) inDigits(text []byte) {
	view := digits(text)
	for _, n := range needles() {
		if n.digits != nil && bytes.Contains(view, n.digits) {
			s.note(n, digitsOnly)
		}
	}
}

func (s *search) note(n needle, encoding string) {
	if _, ok := s.found[n.planted]; !ok {
		s.found[n.planted] = cmp.Or(s.encoding, encoding)
	}
}

// deepest is how many escapes may be around each other: an error quotes what a log quotes again.
const deepest = 4

// layers are a text, and what is below its escapes in any order of them. Each depth counts, because
// a text may have backslashes of its own.
func layers(text []byte) [][]byte {
	all := [][]byte{text}
	for from, depth := 0, 0; depth < deepest; depth++ {
		last := all[from:]
		from = len(all)
		for _, layer := range last {
			for _, read := range []func([]byte) []byte{unescape, entities, query} {
				deeper := read(layer)
				if !slices.ContainsFunc(all, func(other []byte) bool { return bytes.Equal(other, deeper) }) {
					all = append(all, deeper)
				}
			}
		}
	}
	return all
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

// keyLength is how many bytes tell where a text may begin.
const keyLength = 4

// beginnings are those of all texts in one encoding, so that one pass finds each.
type beginnings struct {
	begins [1 << 16]bool // by their first two bytes
	by     map[string][]spelled
}

// spelled is a text as it is in an encoding.
type spelled struct {
	needle

	text []byte
}

func newBeginnings(spell func(n needle) [][]byte) *beginnings {
	x := &beginnings{by: map[string][]spelled{}}
	for _, n := range needles() {
		for _, text := range spell(n) {
			x.begins[uint16(text[0])<<8|uint16(text[1])] = true
			key := string(text[:keyLength])
			x.by[key] = append(x.by[key], spelled{n, text})
		}
	}
	return x
}

var (
	index   = sync.OnceValue(func() *beginnings { return newBeginnings(func(n needle) [][]byte { return [][]byte{n.text} }) })
	indexLE = sync.OnceValue(func() *beginnings { return newBeginnings(func(n needle) [][]byte { return inUTF16(n, 1) }) })
	indexBE = sync.OnceValue(func() *beginnings { return newBeginnings(func(n needle) [][]byte { return inUTF16(n, 0) }) })
)

// inUTF16 is a text in units of two bytes, in each case and normalization; high is the place of the higher byte.
func inUTF16(n needle, high int) (all [][]byte) {
	for _, text := range []string{n.planted, strings.ToLower(n.planted), strings.ToUpper(n.planted)} {
		for _, form := range []norm.Form{norm.NFC, norm.NFD} {
			var b []byte
			for _, unit := range utf16.Encode([]rune(form.String(text))) {
				pair := []byte{byte(unit), byte(unit)}
				pair[high], pair[1-high] = byte(unit>>8), byte(unit)
				b = append(b, pair...)
			}
			all = append(all, b)
		}
	}
	return all
}

func normal(text []byte) []byte {
	if !bytes.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return bytes.ToLower(text)
	}
	return norm.NFC.Bytes(bytes.ToLower(norm.NFC.Bytes(text)))
}

var (
	escape    = regexp.MustCompile(`\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[0-7]{3}|["'/\\abfnrtv])`)
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
		if i := strings.IndexByte("abfnrtv", e[1]); i >= 0 {
			return []byte{"\a\b\f\n\r\t\v"[i]}
		}
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

// entities reads those of HTML, and what stands behind percent signs.
func entities(text []byte) []byte { return percent([]byte(html.UnescapeString(string(text)))) }

// query reads what stands behind percent signs, and blanks where there are plus signs.
func query(text []byte) []byte { return percent(bytes.ReplaceAll(text, []byte("+"), []byte(" "))) }

// shortestBase64 is the least of which a planted text is made: of twelve bytes.
const shortestBase64 = 16

// fromBase64 reads every run of the alphabet's letters from each of four places, because a
// text may stand anywhere in what was encoded.
func fromBase64(text []byte, encoding *base64.Encoding, last string) [][]byte {
	letters := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" + last
	views := make([][]byte, 4)
	for run := range bytes.FieldsFuncSeq(text, func(r rune) bool { return !strings.ContainsRune(letters, r) }) {
		if len(run) < shortestBase64 {
			continue
		}
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

// digits leaves the digits alone, in ASCII, of numbers that other than blanks and punctuation
// stand between.
func digits(text []byte) []byte {
	var view []byte
	gap := 0
	for _, r := range string(entities(unescape(text))) {
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
