package config

import (
	"fmt"
	"io"
	"os"
)

// Load returns the settings: the defaults, under the file, under the variables
// of environ that begin with CONTACTSYNC_ (see os.Environ). An empty path leaves
// the file out. The error is an Errors where the settings are wrong, and that of the
// operating system where the file cannot be read.
func Load(path string, environ []string) (Config, error) {
	if path == "" {
		return load("", "", environ)
	}
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("read the settings: %w", err)
	}
	defer f.Close()
	// One byte more than is taken, to tell a file that is too large.
	text, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return Config{}, fmt.Errorf("read the settings: %w", err)
	}
	return load(path, string(text), environ)
}

func load(path, text string, environ []string) (Config, error) {
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
		return Config{}, err
	}
	return c, nil
}
