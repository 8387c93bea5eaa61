package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/setting"
	"github.com/contactsync/contactsync/upstream"
)

// Config is all settings of the service.
type Config struct {
	// Kafka says how to reach the brokers.
	Kafka kafka.Config `yaml:"kafka"`
	// Consumer says what is read, in which group, and when offsets are committed.
	Consumer consumer.Config `yaml:"consumer"`
	// Event says how a record is read and what is checked before it is sent.
	Event event.Config `yaml:"event"`
	// Batcher says how events are gathered into requests, and how failed ones are repeated.
	Batcher batcher.Config `yaml:"batcher"`
	// Upstream says which accounts of the API are called, and how.
	Upstream upstream.Config `yaml:"upstream"`
	// DeadLetter says where events go that can never be delivered.
	DeadLetter deadletter.Config `yaml:"deadletter"`
	// Admin is the HTTP server for metrics, probes and the status page.
	Admin Admin `yaml:"admin"`
	// Log says what is written to the standard error stream.
	Log Log `yaml:"log"`
	// Shutdown bounds how the service stops.
	Shutdown Shutdown `yaml:"shutdown"`
}

// Admin is the part of the settings for the HTTP server that operators use.
type Admin struct {
	// Listen is the address as host:port. An empty host listens on every
	// interface, which probes in Kubernetes need; port 0 takes a free one.
	Listen string `yaml:"listen"`
}

// Log is the part of the settings for the log.
type Log struct {
	// Level is the least level that is written: debug, info, warn or error.
	Level string `yaml:"level"`
	// Format is json, one object a line, or text, for reading in a terminal.
	Format string `yaml:"format"`
}

// Shutdown is the part of the settings for stopping.
type Shutdown struct {
	// Timeout is the time from the first signal to a forced exit. Keep Kubernetes'
	// terminationGracePeriodSeconds above it.
	Timeout time.Duration `yaml:"timeout"`
}

// The levels and formats of the log.
var (
	levels  = []string{"debug", "info", "warn", "error"}
	formats = []string{"json", "text"}
)

// DefaultConfig returns the defaults of all sections.
func DefaultConfig() Config {
	return Config{
		Kafka:      kafka.DefaultConfig(),
		Consumer:   consumer.DefaultConfig(),
		Event:      event.DefaultConfig(),
		Batcher:    batcher.DefaultConfig(),
		Upstream:   upstream.DefaultConfig(),
		DeadLetter: deadletter.DefaultConfig(),
		Admin:      Admin{Listen: "127.0.0.1:8080"},
		Log:        Log{Level: "info", Format: "json"},
		Shutdown:   Shutdown{Timeout: 30 * time.Second},
	}
}

// Validate returns the errors of every section and of the relations between
// sections, with full keys. Load has called it already.
func (c Config) Validate() []setting.Error {
	var errs setting.Errors
	for _, section := range []struct {
		name string
		errs []setting.Error
	}{
		{"kafka", c.Kafka.Validate()},
		{"consumer", c.Consumer.Validate()},
		{"event", c.Event.Validate()},
		{"batcher", c.Batcher.Validate()},
		{"upstream", c.Upstream.Validate()},
		{"deadletter", c.DeadLetter.Validate()},
		{"admin", c.Admin.validate()},
		{"log", c.Log.validate()},
		{"shutdown", c.Shutdown.validate()},
	} {
		for _, e := range section.errs {
			e.Key = join(section.name, e.Key)
			errs = append(errs, e)
		}
	}
	return append(errs, c.relations()...)
}

func (a Admin) validate() []setting.Error {
	_, port, err := net.SplitHostPort(a.Listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return []setting.Error{{Key: "listen", Problem: fmt.Sprintf("%q is not an address: write host:port, like 127.0.0.1:8080 or :8080", a.Listen)}}
	}
	return nil
}

func (l Log) validate() []setting.Error {
	var errs setting.Errors
	if !slices.Contains(levels, l.Level) {
		errs.Add("level", "%q is unknown: debug, info, warn or error", l.Level)
	}
	if !slices.Contains(formats, l.Format) {
		errs.Add("format", "%q is unknown: json or text", l.Format)
	}
	return errs
}

func (s Shutdown) validate() []setting.Error {
	if s.Timeout < time.Second || s.Timeout > time.Hour {
		return []setting.Error{{Key: "timeout", Problem: fmt.Sprintf("%v must be between 1s and 1h", s.Timeout)}}
	}
	return nil
}

// join puts a section's name before a key, which is empty for the section itself.
func join(section, key string) string {
	if section == "" || key == "" {
		return section + key
	}
	return section + "." + key
}
