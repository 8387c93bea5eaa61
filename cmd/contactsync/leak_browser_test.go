//go:build browser

package main

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

func init() { inBrowser = pageInChromium }

// undocumented names the elements that show what is no text or attribute of the document: pictures,
// drawings, other documents, what is typed, shadow trees, and what a style sheet adds, but for
// the titles of columns, which are attributes.
const undocumented = `[...document.querySelectorAll('*')].filter((e) =>
  /^(canvas|img|image|picture|video|iframe|object|embed|input|textarea|select)$/i.test(e.tagName) || e.shadowRoot ||
  getComputedStyle(e).backgroundImage !== 'none' ||
  ['::before', '::after'].some((of) => !['none', 'normal'].includes(getComputedStyle(e, of).content) && !e.dataset.label)
).map((e) => e.tagName).join(' ')`

// pageInChromium is the page as a browser has made it of the status: its text, and its document.
// A picture of it shows nothing else, so pictures are not searched: what a picture can have and a
// document has not would be in one of the elements of undocumented, and there is none.
func pageInChromium(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU) //nolint:gocritic // the options are copied
	ctx, closeAllocator := chromedp.NewExecAllocator(ctx, options...)
	defer closeAllocator()
	ctx, closeBrowser := chromedp.NewContext(ctx)
	defer closeBrowser()
	const shown = `document.querySelectorAll('#letters tbody tr').length > 0`
	if err := chromedp.Do(ctx, chromedp.Navigate(url), chromedp.Poll[chromedp.Void](shown, chromedp.WithPollingTimeout(time.Minute))); err != nil {
		t.Fatal(err)
	}
	others, err := chromedp.Run(ctx, chromedp.Evaluate[string](undocumented))
	if err != nil {
		t.Fatal(err)
	}
	if others != "" {
		t.Errorf("a picture may show what is not in the document, in %s: search pictures too", others)
	}
	const all = `document.querySelectorAll('details').forEach((d) => { d.open = true }); document.title + '\n' + document.body.innerText + '\n' + document.documentElement.outerHTML`
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](all))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
