package check

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// Kafka reads the group's committed offsets and the dead letters.
func (in *Input) Kafka(ctx context.Context, brokers []string, group, deadLetters string) error {
	var err error
	if in.Committed, err = broker.Committed(ctx, brokers, group); err != nil {
		return err
	}
	records, err := broker.ReadAll(ctx, brokers, deadLetters)
	if err != nil {
		return err
	}
	in.DeadLetters, err = ReadDeadLetters(records)
	return err
}

// API is one API that the service has called. Any model of the vendor's API will do
// that can tell what it received and applied in the words of the stub's log.
type API interface {
	Calls() []stub.Call
	State() map[string]map[string]int64
	Stats() stub.Stats
}

// APIs reads the counters, states and logs of APIs in the same process. Where there
// are several, each must have streams of its own: their clocks and orders differ.
func (in *Input) APIs(all ...API) {
	in.Stats, in.State, in.Calls = new(stub.Stats), map[string]map[string]int64{}, []stub.Call{}
	for _, s := range all {
		in.Stats.Add(s.Stats())
		maps.Copy(in.State, s.State())
		in.Calls = append(in.Calls, s.Calls()...)
	}
}

// StubAt reads the state and counters of a stub in another process, at its base
// address. Its log is read with stub.ReadLog.
func (in *Input) StubAt(ctx context.Context, base string) error {
	in.Stats = new(stub.Stats)
	if err := get(ctx, base+"/stats.json", in.Stats); err != nil {
		return err
	}
	return get(ctx, base+"/state.json", &in.State)
}

func get(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask the stub: %w", err)
	}
	resp, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		return fmt.Errorf("ask the stub: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the stub: %s answers %s", url, resp.Status)
	}
	if err := json.UnmarshalRead(resp.Body, into); err != nil {
		return fmt.Errorf("ask the stub: %s: %w", url, err)
	}
	return nil
}
