package config

import (
	"fmt"
	"slices"
	"time"

	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/admin"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/setting"
	"github.com/contactsync/contactsync/upstream"
)

// Config is all settings of the service.
type Config struct {
	// Kafka configures the connections to the brokers.
	Kafka kafka.Config `yaml:"kafka"`
	// Consumer configures what is read, in which group, and when offsets are
	// committed.
	Consumer consumer.Config `yaml:"consumer"`
	// Event configures how records are decoded and what is checked before a contact is
	// sent.
	Event event.Config `yaml:"event"`
	// Batcher configures how events are gathered into requests, and how failed
	// requests are retried.
	Batcher batcher.Config `yaml:"batcher"`
	// Upstream configures the accounts of the API and how it is called.
	Upstream upstream.Config `yaml:"upstream"`
	// DeadLetter configures the topic for events that cannot be delivered.
	DeadLetter deadletter.Config `yaml:"deadletter"`
	// Admin configures the HTTP server for metrics, probes and the status page.
	Admin admin.Config `yaml:"admin"`
	// Log configures the log, which goes to the standard error stream.
	Log Log `yaml:"log"`
	// Shutdown configures how the service stops.
	Shutdown Shutdown `yaml:"shutdown"`
}

// Log is the log section of the settings.
type Log struct {
	// Level is the lowest level that is written: debug, info, warn or error.
	Level string `yaml:"level"`
	// Format is the format of the log: json, one object per line, or text, for reading
	// in a terminal.
	Format string `yaml:"format"`
}

// Shutdown is the shutdown section of the settings.
type Shutdown struct {
	// Timeout is the time from the first signal to a forced exit. Keep the
	// terminationGracePeriodSeconds of the pod above it.
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
		Admin:      admin.DefaultConfig(),
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
		{"admin", c.Admin.Validate()},
		{"log", c.Log.validate()},
		{"shutdown", c.Shutdown.validate()},
	} {
		errs = append(errs, under(section.name, section.errs)...)
	}
	return append(errs, c.relations()...)
}

// CheckFiles returns everything that is wrong with the files that the settings name.
func (c Config) CheckFiles() []setting.Error {
	return slices.Concat(under("kafka", c.Kafka.CheckFiles()), under("upstream", c.Upstream.CheckFiles()), under("admin", c.Admin.CheckFiles()))
}

// Weaknesses returns what works, but is less secret than it should be.
func (c Config) Weaknesses() []setting.Error {
	return append(under("kafka", c.Kafka.Weaknesses()), under("upstream", c.Upstream.Weaknesses())...)
}

// under returns errors of a section with full keys.
func under(section string, errs []setting.Error) []setting.Error {
	full := make([]setting.Error, len(errs))
	for i, e := range errs {
		full[i] = setting.Error{Key: join(section, e.Key), Problem: e.Problem}
	}
	return full
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
