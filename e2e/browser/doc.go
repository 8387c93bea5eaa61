// Package browser tests the status page in a headless Chromium: make page. Its tests have
// the build tag browser.
package browser
