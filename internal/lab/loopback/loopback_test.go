package loopback_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/contactsync/contactsync/internal/lab/loopback"
)

func TestFree(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 20 {
		addrs, err := loopback.Free(t.Context(), 5)
		if err != nil || len(addrs) != 5 {
			t.Fatalf("%d addresses, %v", len(addrs), err)
		}
		for _, addr := range addrs {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := strconv.Atoi(port); err != nil || n < 20_000 || n >= 32_000 {
				t.Errorf("%s: outgoing connections may take it: %v", addr, err)
			}
			if seen[addr] {
				t.Errorf("%s was given out twice", addr)
			}
			seen[addr] = true
		}
	}
}

// A port that is in use is skipped.
func TestFree_NotOneInUse(t *testing.T) {
	t.Parallel()
	addrs, err := loopback.Free(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const all = 12_000
	for range all / 500 { // once around
		more, err := loopback.Free(t.Context(), 500)
		if err != nil {
			t.Fatal(err)
		}
		for _, addr := range more {
			if addr == addrs[0] {
				t.Fatalf("%s is in use", addr)
			}
		}
	}
}
