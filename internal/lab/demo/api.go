package demo

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/internal/lab/vendorapi"
)

const (
	account = "demo"
	latency = 15 * time.Millisecond
	html    = "<html><body><h1>503 Service Unavailable</h1></body></html>"
)

// startAPI starts the model of the API that was asked for, with the rules that break it.
func (r *run) startAPI() (breakable, error) {
	switch r.API {
	case Stub:
		if r.Variant != "" {
			return nil, fmt.Errorf("only the API %q has variants", Vendor)
		}
		cfg := stub.DefaultConfig()
		cfg.RateLimit, cfg.RateWindow = harness.RateLimit(r.Requests, 1), r.Window
		cfg.Latency, cfg.Jitter = latency, 10*time.Millisecond
		cfg.Scenario.Rules = append(r.Scenario.Rules,
			stub.Rule{Name: down, Off: true, Answer: &stub.Answer{Status: 503, Body: stub.HTML}},
			stub.Rule{Name: throttling, Off: true, Answer: &stub.Answer{Status: 429, Body: stub.RateLimitText}},
		)
		return r.AddAPI(cfg)
	case Vendor:
		if len(r.Scenario.Rules) > 0 {
			return nil, fmt.Errorf("only the API %q has scenarios", Stub)
		}
		cfg := vendorapi.Config{
			Accounts: []vendorapi.Account{harness.VendorAccount(account)},
			Known:    func(_, id string) bool { return !strings.HasPrefix(id, "bad") },
			Latency:  latency,
			Rules: []vendorapi.Rule{
				{Name: down, Off: true, Status: http.StatusServiceUnavailable, Kind: "text/html", Body: html},
				{Name: throttling, Off: true, Status: http.StatusTooManyRequests, Kind: "text/plain", Body: "You've exceeded the per-minute rate limit. Please wait for sometime before retrying."},
			},
		}
		if r.Variant != "" {
			v, known := vendorapi.Find(r.Variant)
			if !known {
				return nil, fmt.Errorf("the API has no variant %q", r.Variant)
			}
			v.Set(&cfg)
		}
		cfg.Budget.Requests, cfg.Budget.Window = harness.RateLimit(r.Requests, 1), r.Window
		return r.AddVendor(cfg)
	}
	return nil, fmt.Errorf("there is no API %q: %s or %s", r.API, Stub, Vendor)
}
