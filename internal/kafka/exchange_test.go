package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func TestExchangeFrames_TakesWholeAnswersOnly(t *testing.T) {
	t.Parallel()
	answer := []byte("an answer")
	whole := append(binary.BigEndian.AppendUint32(nil, uint32(len(answer))), answer...)
	for _, expected := range []int{0, 4, len(answer), 100} {
		for n := range whole {
			if got, err := exchangeFrames(wire{bytes.NewReader(whole[:n])}, nil, atMost(100), expected); err == nil {
				t.Errorf("%d of %d bytes, %d expected: %q", n, len(whole), expected, got)
			}
		}
		if got, err := exchangeFrames(wire{bytes.NewReader(append(whole, "the next"...))}, nil, atMost(100), expected); err != nil || !bytes.Equal(got, answer) {
			t.Errorf("%d expected: %q, %v", expected, got, err)
		}
	}
	if _, err := exchangeFrames(wire{bytes.NewReader(whole)}, nil, atMost(len(answer)-1), 0); !errors.Is(err, errAnswerTooLarge) {
		t.Errorf("more than is taken: %v", err)
	}
}
