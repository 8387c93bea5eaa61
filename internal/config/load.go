package config

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/contactsync/contactsync/internal/keyfile"
	"github.com/contactsync/contactsync/internal/setting"
)

// Load returns the settings: the defaults, under the file, under the variables
// of environ that begin with CONTACTSYNC_ (see os.Environ). An empty path leaves
// the file out. The error is an Errors where the settings are wrong, and that of the
// operating system where the file cannot be read.
func Load(path string, environ []string) (Config, error) {
	c, _, err := LoadPlaces(path, environ)
	return c, err
}

// Places knows where each setting was set.
type Places struct{ r *report }

// Of says of an error that is found after Load where the setting was set.
func (p Places) Of(e setting.Error) Error { return p.r.place(e) }

// LoadPlaces is Load for what is checked after it, as the files that the settings name.
func LoadPlaces(path string, environ []string) (Config, Places, error) {
	if path == "" {
		return load("", "", environ)
	}
	text, err := read(path, time.Now().Add(keyfile.Patience))
	if err != nil {
		return Config{}, Places{}, fmt.Errorf("read the settings: %w", err)
	}
	return load(path, string(text), environ)
}

// read returns what the file holds. A pipe that nobody writes to must not hold the program, and would hide
// a signal.
func read(path string, until time.Time) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return keyfile.Content(f, maxBytes, until)
}

func load(path, text string, environ []string) (Config, Places, error) {
	c := DefaultConfig()
	r := newReport(path)
	root, usable := r.parse(text)
	if usable {
		r.decode(root, &c)
	}
	r.overlay(environ, &c)
	if usable {
		// Without the file nearly everything would seem to be missing.
		c.Upstream.SetDefaults()
		for _, f := range c.Validate() {
			r.invalid(f)
		}
	}
	if err := r.err(); err != nil {
		return Config{}, Places{}, err
	}
	return c, Places{r}, nil
}
