package vendorapi

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

const (
	stream = "st-7dc994f0-4436-5134-9fa8-a942625aaaaa"
	john   = "6964af60450340957c6aaaaa"
	jane   = "6964af806fc554153c0aaaaa"
)

// client calls an API on a pipe in memory, so that it also works in a bubble.
type client struct {
	t   *testing.T
	api *API
	url string
	c   *http.Client
}

func start(t *testing.T, cfg Config) *client {
	t.Helper()
	if cfg.Accounts == nil {
		cfg.Accounts = []Account{{ID: "account", Apps: []App{{ClientID: "client", Secret: "secret"}}}}
	}
	api := New(cfg)
	conns := &listener{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: api}
	served := make(chan error)
	go func() { served <- server.Serve(conns) }()
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		conns.conns <- theirs
		return ours, nil
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		api.Close()
		server.Close()
		<-served
	})
	return &client{t, api, "http://api" + pathBefore + stream + pathAfter, &http.Client{Transport: transport}}
}

type listener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *listener) Close() error   { close(l.done); return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }

// token signs claims, {"sub","appId"} unless others are given.
func token(secret, header, claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(header)) + "." + encode([]byte(claims))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}

const hs256 = `{"alg":"HS256","typ":"JWT"}`

func (c *client) request(body string) *http.Request {
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPut, c.url, bytes.NewReader([]byte(body)))
	if err != nil {
		c.t.Fatal(err)
	}
	r.GetBody = nil
	r.Header.Set("auth", token("secret", hs256, `{"sub":"1234567890","appId":"client"}`))
	r.Header.Set("accountId", "account")
	r.Header.Set("Content-Type", "application/json")
	return r
}

type answered struct {
	status int
	header http.Header
	text   string
	body   struct {
		TotalRequested, Successful, Failed any
		SuccessfulRecords, FailedRecords   []any
		Errors                             []struct {
			Msg, Message string
			Code         int
		}
	}
	err error
}

func (c *client) do(r *http.Request) (got answered) {
	response, err := c.c.Do(r)
	if err != nil {
		return answered{err: err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	got.status, got.header, got.text, got.err = response.StatusCode, response.Header, string(text), err
	_ = json.Unmarshal(text, &got.body) // not all answers are JSON
	return got
}

func (c *client) put(body string) answered { return c.do(c.request(body)) }

// one is a full row in the page's form.
func one(id, first, number string) string {
	return `{"id":"` + id + `","firstName":"` + first + `","lastName":"doe","salutation":"mr","cellPhone":{"extension":"+","phoneNumber":"` + number + `","countryCode":"+91"}}`
}

func (c *client) wantComplaints(want ...Fault) {
	c.t.Helper()
	log := c.api.Log()
	if len(log.Complaints) != len(want) {
		c.t.Fatalf("complaints %v, want %v", log.Complaints, want)
	}
	for i, f := range want {
		if log.Complaints[i].Fault != f {
			c.t.Errorf("complaint %v, want %s", log.Complaints[i], f)
		}
	}
}

func at(seconds int) time.Duration { return time.Duration(seconds) * time.Second }
