package deadletter

import (
	"time"

	"github.com/contactsync/contactsync/internal/setting"
)

// Config is the deadletter section of the settings.
type Config struct {
	// Topic is the topic for dead letters. It must exist: the service never creates
	// one.
	Topic string `yaml:"topic"`
	// Linger is how long a dead letter waits for others of its partition to share a
	// write with.
	Linger time.Duration `yaml:"linger"`
	// BatchBytes bounds the dead letters that share one write. Keep it at or below the
	// topic's max.message.bytes; a larger record is written on its own.
	BatchBytes setting.Size `yaml:"batch_bytes"`
	// Timeout bounds one write, the replicas' acknowledgement included.
	Timeout time.Duration `yaml:"timeout"`
	// EnvelopeBytes is how much of a record that is too large for the topic is kept. 0
	// keeps only its hash, size and position.
	EnvelopeBytes setting.Size `yaml:"envelope_bytes"`
}

// DefaultConfig returns the defaults. Topic has none.
func DefaultConfig() Config {
	return Config{
		Linger:        10 * time.Millisecond,
		BatchBytes:    1 << 20,
		Timeout:       10 * time.Second,
		EnvelopeBytes: 4 << 10,
	}
}

// Validate returns every error of the settings.
func (c Config) Validate() []setting.Error {
	var errs setting.Errors
	if !setting.IsKafkaName(c.Topic) {
		errs.Add("topic", setting.NoTopic, c.Topic)
	}
	if c.Linger < time.Millisecond || c.Linger > 10*time.Second {
		errs.Add("linger", "%v must be between 1ms and 10s", c.Linger)
	}
	if c.BatchBytes < 64<<10 || c.BatchBytes > 64<<20 {
		errs.Add("batch_bytes", "%v must be between 64KiB and 64MiB", c.BatchBytes)
	}
	if c.Timeout < 100*time.Millisecond || c.Timeout > 5*time.Minute {
		errs.Add("timeout", "%v must be between 100ms and 5m", c.Timeout)
	}
	if c.EnvelopeBytes < 0 || c.EnvelopeBytes > 256<<10 {
		errs.Add("envelope_bytes", "%v must be between 0B and 256KiB", c.EnvelopeBytes)
	}
	return errs
}
