//go:build browser

package main

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

func init() { inBrowser = pageInChromium }

// pageInChromium is the page as a browser has made it of the status: all that a picture of it
// can show, and its document.
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
	const all = `document.querySelectorAll('details').forEach((d) => { d.open = true }); document.title + '\n' + document.body.innerText + '\n' + document.documentElement.outerHTML`
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](all))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
