// Package config reads the settings: defaults, then one YAML file, then the
// environment, each over the one before. Every package keeps its own part and
// its own rules; this one knows where a value came from.
//
// It promises to report every error at once, each with its line or variable, and
// never to guess: an unknown key, an unknown variable, a duplicate key or a value
// of the wrong type is an error, and one error does not hide another. Only a file
// that is not YAML ends the search, because nothing after the first syntax error
// can be trusted.
//
// The file is bounded in size, in tokens and in depth, and may not use anchors,
// aliases or tags, so that reading it costs little whatever it holds.
//
// The settings hold no secret, only the names of files with secrets, so they may
// be printed. Whether those files exist is not checked here. The package keeps no
// state and starts no goroutine.
package config
