package event

import (
	"errors"
	"fmt"

	"github.com/contactsync/contactsync/internal/setting"
)

// Config is the event section of the settings.
type Config struct {
	// Format is the format of record values: native is the JSON object with streamId
	// and contact that the documentation describes.
	Format string `yaml:"format"`
	// Validation is how much of a contact is checked before it is sent: strict (every
	// field that the API documents as required is present and well-formed) or lenient
	// (only the id; the API decides about the rest).
	Validation string `yaml:"validation"`
	// MaxEventBytes bounds the key and the value of a record, each on its own. A
	// larger record goes to the dead-letter topic.
	MaxEventBytes setting.Size `yaml:"max_event_bytes"`
	// MaxDepth bounds how deeply objects and arrays are nested in a value; the
	// outermost object counts as 1.
	MaxDepth int `yaml:"max_depth"`
}

// The formats and the ways to validate.
const (
	NativeFormat = "native"
	Strict       = "strict"
	Lenient      = "lenient"
)

const (
	minEventBytes = setting.Size(1 << 10)
	maxEventBytes = setting.Size(64 << 20)
	// minDepth lets the native format through: event, contact, cellPhone.
	minDepth = 3
	maxDepth = 1000
)

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Format:        NativeFormat,
		Validation:    Strict,
		MaxEventBytes: 256 << 10,
		MaxDepth:      32,
	}
}

// Validate returns every error of the settings.
func (c Config) Validate() []setting.Error {
	var errs setting.Errors
	if reading(c.Format) == nil {
		errs.Add("format", "%q is unknown: native", c.Format)
	}
	if c.Validation != Strict && c.Validation != Lenient {
		errs.Add("validation", "%q is unknown: strict or lenient", c.Validation)
	}
	if c.MaxEventBytes < minEventBytes || c.MaxEventBytes > maxEventBytes {
		errs.Add("max_event_bytes", "%v must be between %v and %v", c.MaxEventBytes, minEventBytes, maxEventBytes)
	}
	if c.MaxDepth < minDepth || c.MaxDepth > maxDepth {
		errs.Add("max_depth", "%d must be between %d and %d", c.MaxDepth, minDepth, maxDepth)
	}
	return errs
}

// check returns the errors of the settings as one.
func (c Config) check() error {
	var errs []error
	for _, f := range c.Validate() {
		errs = append(errs, fmt.Errorf("event setting %s: %s", f.Key, f.Problem))
	}
	return errors.Join(errs...)
}
