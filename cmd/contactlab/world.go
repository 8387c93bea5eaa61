package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/upstream"
)

const (
	demoTopic   = "contacts"
	demoLetters = "contacts-dead"
	demoGroup   = "contactsync-demo"
)

// ground is what the service stands on in one process: an embedded broker, and
// credentials for any number of accounts.
type ground struct {
	broker *broker.Broker
	dir    string
}

func newGround(partitions int32) (*ground, error) {
	g := &ground{}
	var err error
	if g.broker, err = broker.Start(broker.Options{Topics: map[string]int32{demoTopic: partitions, demoLetters: 1}}); err != nil {
		return nil, err
	}
	if g.dir, err = os.MkdirTemp("", "contactlab-"); err == nil {
		err = os.WriteFile(g.secret(), []byte(stub.LabSecret), 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

func (g *ground) secret() string { return filepath.Join(g.dir, "client-secret") }

func (g *ground) close() error {
	g.broker.Close()
	return os.RemoveAll(g.dir)
}

// account is one of the lab; 0 requests are no limit.
func (g *ground) account(id, url string, requests int, window time.Duration, streams ...string) upstream.Account {
	return upstream.Account{
		ID: id, Host: url, AllowPlaintext: true, Streams: streams,
		Credentials: upstream.Credentials{ClientID: stub.LabAppID, ClientSecretFile: g.secret()},
		Budget:      upstream.Budget{Requests: &requests, Window: window},
	}
}

// arrivals is how many calls the API must take in a window in which the replicas
// together may start as many as requests. Those of the window before that a busy
// machine has kept on their way arrive together with them.
func arrivals(requests, replicas int) int {
	return requests + replicas*config.DefaultConfig().Batcher.MaxInFlight
}

// settings are those of a service on this ground; the caller may alter them.
func (g *ground) settings(accounts ...upstream.Account) config.Config {
	cfg := config.DefaultConfig()
	cfg.Kafka.Brokers = g.broker.Addrs()
	cfg.Consumer.Topics, cfg.Consumer.Group = []string{demoTopic}, demoGroup
	cfg.Consumer.FetchMaxWait = 100 * time.Millisecond
	cfg.Consumer.CommitInterval = 200 * time.Millisecond
	cfg.Batcher.BackoffMin, cfg.Batcher.BackoffMax = 100*time.Millisecond, time.Second
	cfg.Batcher.AmbiguousRetryDelay = 500 * time.Millisecond
	cfg.DeadLetter.Topic = demoLetters
	cfg.Admin.Listen = "127.0.0.1:0"
	cfg.Upstream.Breaker.Open = time.Second
	cfg.Upstream.Accounts = accounts
	cfg.Upstream.SetDefaults()
	return cfg
}

// drained reports whether everything that was produced is committed.
func drained(ctx context.Context, b *broker.Broker) (bool, error) {
	ends, err := broker.EndOffsets(ctx, b.Addrs(), demoTopic)
	if err != nil {
		return false, err
	}
	committed, err := broker.Committed(ctx, b.Addrs(), demoGroup)
	if err != nil {
		return false, err
	}
	for p, end := range ends {
		if committed[p] < end {
			return false, nil
		}
	}
	return true, nil
}

// world is a ground with one API and one replica of the service.
type world struct {
	*ground
	*replica // nil before it is started
	api      *stub.Server
}

func newWorld(partitions int32, api stub.Config) (*world, error) {
	w := &world{}
	var err error
	if w.ground, err = newGround(partitions); err != nil {
		return nil, err
	}
	if w.api, err = stub.New(api); err == nil {
		err = w.api.Start("127.0.0.1:0")
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *world) close() error {
	var err error
	if w.api != nil {
		err = w.api.Close()
	}
	return errors.Join(err, w.ground.close())
}
