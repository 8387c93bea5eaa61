package batcher

import "testing"

// The events of a contact are told in the order of their arrival: the last of them is the one that is delivered.
func TestSources_KeepTheOrderOfArrival(t *testing.T) {
	t.Parallel()
	var s sources
	for n := range int64(5) {
		s.add(source{claim: &claim{live: true}, offset: n})
		for i, src := range s.all() {
			if src.offset != int64(i) || s.newest().offset != n || !s.live() {
				t.Errorf("of %d events the one at %d is %d, and the newest %d", n+1, i, src.offset, s.newest().offset)
			}
		}
	}
}
