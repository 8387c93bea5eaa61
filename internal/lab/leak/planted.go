package leak

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
)

// The kinds of what is planted: names in ten scripts, telephone numbers in five punctuations.
const (
	perScript = 10
	perForm   = 8
	perOther  = 20 // tokens, secrets, paths
)

// scripts have letters that NFD takes apart where the script has such. None has letters whose
// small form depends on their place.
var scripts = []struct {
	letters string
	length  int
}{
	{"aeiounrlmtkbdgvzáéíöüñç", 11},       // Latin
	{"абвгдежзийклмнопрстуё", 9},          // Cyrillic
	{"αβγδεζηικλμνορτυωάέίό", 9},          // Greek
	{"ابتجحدرسعفقكلمنهوي", 9},             // Arabic
	{"אבגדהוזחטילמנספצקרש", 9},            // Hebrew
	{"王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧", 6}, // Han
	{"김이박최정강조윤장임한오서신권황안송류홍", 6},           // Hangul
	{"アイウエオカガキギクグサザシジタダナニノハバパマミムメモ", 7},   // Katakana
	{"कखगघचछजटडतथदनपबमयरलवसह", 8},         // Devanagari
	{"กขคงจชซญฐณดตถทนบปผพฟมยรลวสห", 8},    // Thai
}

// forms are how telephone numbers of twelve digits are written.
var forms = []func(d string) string{
	func(d string) string { return "+" + d },
	func(d string) string { return "+" + d[:2] + " " + d[2:5] + " " + d[5:8] + " " + d[8:] },
	func(d string) string { return d[:2] + "-" + d[2:6] + "-" + d[6:9] + "-" + d[9:] },
	func(d string) string { return d[:3] + "." + d[3:6] + "." + d[6:9] + "." + d[9:] },
	func(d string) string { return "+" + d[:2] + " (" + d[2:6] + ") " + d[6:9] + "/" + d[9:] },
}

// Planted returns the same 200 texts each time. Each is long enough not to occur by chance.
func Planted() []string { return planted() }

var planted = sync.OnceValue(func() []string {
	random := rand.New(rand.NewPCG(7, 11)) // the same for every process: one plants, another searches
	word := func(letters string, n int) string {
		from := []rune(letters)
		var w strings.Builder
		for range n {
			w.WriteRune(from[random.IntN(len(from))])
		}
		return w.String()
	}
	const alphanumeric = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	var all []string
	for _, s := range scripts {
		for range perScript {
			all = append(all, word(s.letters, s.length))
		}
	}
	for _, form := range forms {
		for range perForm {
			all = append(all, form(word("23456789", 12)))
		}
	}
	for range perOther { // which do not begin as the service's own do, since those are taken out of answers
		all = append(all, strings.Join([]string{part(`{"kid":"` + word(alphanumeric, 6) + `","alg":"HS256"}`), part(`{"sub":"` + word(alphanumeric, 8) + `"}`), word(alphanumeric, 22)}, "."))
	}
	for range perOther {
		all = append(all, word(alphanumeric, 6)+`"/`+word(alphanumeric, 4)+`+<`+word(alphanumeric, 4)+`&=\`+word(alphanumeric, 4))
	}
	for i := range perOther {
		name := word("bcdfghjklmnpqrstvwxz", 9)
		all = append(all, []string{`/home/%s/contacts.csv`, `C:\Users\%s\export.xlsx`, `\\files\%s\crm`, `/etc/%s/tls.key`}[i%4])
		all[len(all)-1] = fmt.Sprintf(all[len(all)-1], name)
	}
	return all
})
