// Package leak has texts to plant wherever personal data and secrets may be, and finds them
// in what a program wrote, however they are spelled there.
//
// It starts no goroutine and opens nothing.
package leak
