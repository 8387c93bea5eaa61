// Package keyfile reads the files that the settings name: secrets, private keys and
// certificates. What cannot work is an error that says what the file holds instead and what to
// do, and never quotes content. A name is repeated only where something has it: a secret
// is easily written where the name of its file belongs.
package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
	"unicode/utf8"
)

const (
	// MaxBytes bounds what is read of one file.
	MaxBytes = 1 << 20
	// Interval is how often files are looked at that are in use. Reading them is cheap, and
	// sees every way of replacing one, on every file system.
	Interval = 5 * time.Second
	// Patience is how long a pipe is waited for.
	Patience = 5 * time.Second
	// settleTime lets a writer finish with all files before they are read again.
	settleTime = time.Second
)

// nameless is the error of a name that nothing has.
type nameless struct{ err error }

func (e nameless) Error() string {
	why := "cannot be opened: " + e.err.Error()
	if errors.Is(e.err, fs.ErrNotExist) {
		why = "no such file"
	}
	return why + " (its name is not repeated here: it may be a secret that belongs in a file)"
}

func (e nameless) Unwrap() error { return e.err }

// Read returns the content of a small file. It does not wait for one that may never have
// any, as a pipe or a device.
func Read(name string) ([]byte, error) {
	if err := regular(name); err != nil {
		return nil, err
	}
	// Something else may have the name by now.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be opened: %w", name, reason(err))
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file any more", name)
	}
	content, err := Content(f, MaxBytes, time.Now().Add(Patience))
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, reason(err))
	}
	if len(content) > MaxBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, MaxBytes)
	}
	return content, nil
}

// errSilent says that what was opened has neither more content nor an end.
var errSilent = errors.New("whoever writes it does not end it")

// Content reads what was opened with O_NONBLOCK, and a byte more than most of what is larger. A pipe may be
// held open by who never writes, and a few files of the system are like one: they are waited for until
// then, because a program that reads its settings cannot be stopped in order.
func Content(f *os.File, most int64, until time.Time) ([]byte, error) {
	_ = f.SetReadDeadline(until) // those that never wait refuse it
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, errSilent
	}
	return content, err
}

// Exists reports whether anything has the name.
func Exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// regular returns why something is no regular file.
func regular(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		if _, linkErr := os.Lstat(name); linkErr == nil {
			return fmt.Errorf("%s is a symbolic link that leads nowhere: %w", name, reason(err))
		}
		return nameless{reason(err)}
	}
	what := ""
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		what = "a directory: name a file in it"
	case mode&fs.ModeNamedPipe != 0:
		what = "a named pipe: only a regular file can be read again when it changes"
	case mode&fs.ModeSocket != 0:
		what = "a socket: name a regular file"
	case mode&fs.ModeDevice != 0:
		what = "a device: name a regular file"
	default:
		what = "not a regular file"
	}
	return fmt.Errorf("%s is %s", name, what)
}

// reason is an error of the system without the name that it quotes.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// Files are names of files, by the settings that name them.
type Files map[string]string

// FilesOf returns those of pairs of a setting and a name whose name is not empty.
func FilesOf(pairs ...string) Files {
	files := Files{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			files[pairs[i]] = pairs[i+1]
		}
	}
	return files
}

// Settled reports whether none of them was written within the last moment, so that what
// belongs together is not read while it is being replaced.
func (f Files) Settled(now time.Time) bool {
	for _, name := range f {
		if info, err := os.Stat(name); err == nil {
			if age := now.Sub(info.ModTime()); age >= 0 && age < settleTime {
				return false
			}
		}
	}
	return true
}

// WorldReadable reports whether every user of the machine can read a file.
func WorldReadable(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0
}

// Readable is what to say of a secret file that is WorldReadable.
func Readable(name string) string {
	return name + " is world-readable: set its mode to 0400 or 0440"
}

// text returns what a text file holds.
func text(name string) (string, error) {
	content, err := Read(name)
	if err != nil {
		return "", err
	}
	switch {
	case len(content) == 0:
		return "", fmt.Errorf("%s is empty", name)
	case bytes.HasPrefix(content, []byte("\xff\xfe")), bytes.HasPrefix(content, []byte("\xfe\xff")):
		return "", fmt.Errorf("%s is UTF-16: save it as UTF-8 without a byte order mark", name)
	case bytes.HasPrefix(content, []byte("\ufeff")):
		return "", fmt.Errorf("%s begins with a byte order mark: save it as UTF-8 without one", name)
	case !utf8.Valid(content):
		return "", fmt.Errorf("%s holds bytes that are no text", name)
	}
	return string(content), nil
}
