package consumer_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/kafka"
)

// The lag is from where reading would begin after a restart. An offset that Kafka does not have, or does not tell, says
// nothing of what is left: the events of a new log would seem to be done, as would all where no commit is taken.
func TestConsumer_TheLagIsFromWhereReadingWouldBegin(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		committed, begins int64
		unknown, refused  bool // what is committed is not known; no commit is taken
		state             consumer.State
		next, lag         int64
	}{
		"beyond the end":                                {committed: records + 4, state: consumer.Halted, next: 0, lag: records},
		"far below the start":                           {committed: 1, begins: 3, state: consumer.Halted, next: 3, lag: records - 3},
		"commits are refused":                           {committed: 2, refused: true, state: consumer.Reading, next: records, lag: records - 2},
		"commits are refused, and nothing is committed": {committed: kafka.NoOffset, begins: 1, refused: true, state: consumer.Reading, next: records, lag: records - 1},
		"not known":                                     {unknown: true, state: consumer.Unavailable, next: 0, lag: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t)
				f.begins.Store(tt.begins)
				gen, _ := generation(1, 1)
				gen.Owned[0].Offset = tt.committed
				if tt.unknown {
					gen.Owned[0].Offset, gen.Owned[0].Err = 0, errors.New("the coordinator is away")
					f.ask = func() kafka.Committed { return gen.Owned[0] }
				}
				if tt.refused {
					f.commit = func(*kafka.Generation, kafka.Committed) error { return errors.New("refused") }
				}
				f.once(gen)
				stop := f.run(t)
				kafka.Sleep(t.Context(), time.Minute)
				p := f.consumer.Partitions()[0]
				if p.State != tt.state || p.Lag != tt.lag || p.Next != tt.next {
					t.Errorf("%+v, want %s with a lag of %d from %d", p, tt.state, tt.lag, tt.next)
				}
				if want := tt.committed; tt.unknown && p.Committed != -1 || !tt.unknown && p.Committed != want {
					t.Errorf("%+v: want what is committed", p)
				}
				if got := f.value("contactsync_consumer_lag_records", "0"); got != float64(max(tt.lag, 0)) {
					t.Errorf("the series says %v", got)
				}
				if got := f.value("contactsync_consumer_unread_records", "0"); got != float64(max(tt.lag, 0)) && !tt.refused || got != 0 && tt.refused {
					t.Errorf("unread are %v", got)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
