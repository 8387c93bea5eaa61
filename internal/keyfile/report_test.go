package keyfile

import (
	"reflect"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/setting"
)

func TestRefused_TellsEachFaultOnceAndSinceWhen(t *testing.T) {
	t.Parallel()
	var r Refused
	start := time.Unix(1_700_000_000, 0)
	empty, wrong := setting.Error{Key: "ca_file", Problem: "it is empty"}, setting.Error{Key: "ca_file", Problem: "no PEM"}
	other := setting.Error{Key: "key_file", Problem: "it is empty"}
	for i, step := range []struct {
		problems []setting.Error
		changed  bool
		want     []Report
	}{
		{nil, false, nil},
		{[]setting.Error{empty}, true, []Report{{Setting: "kafka.ca_file", RefusedSince: start.Add(time.Minute), Because: "it is empty"}}},
		{[]setting.Error{empty}, false, []Report{{Setting: "kafka.ca_file", RefusedSince: start.Add(time.Minute), Because: "it is empty"}}},
		{[]setting.Error{wrong}, true, []Report{{Setting: "kafka.ca_file", RefusedSince: start.Add(time.Minute), Because: "no PEM"}}},
		{[]setting.Error{other, wrong}, true, []Report{
			{Setting: "kafka.ca_file", RefusedSince: start.Add(time.Minute), Because: "no PEM"},
			{Setting: "kafka.key_file", RefusedSince: start.Add(4 * time.Minute), Because: "it is empty"},
		}},
		{[]setting.Error{other}, true, []Report{{Setting: "kafka.key_file", RefusedSince: start.Add(4 * time.Minute), Because: "it is empty"}}},
		{nil, true, nil},
	} {
		if changed := r.Note(start.Add(time.Duration(i)*time.Minute), "kafka", step.problems); changed != step.changed {
			t.Errorf("step %d: news %v, want %v", i, changed, step.changed)
		}
		if got := r.Reports("kafka", nil); len(got)+len(step.want) > 0 && !reflect.DeepEqual(got, step.want) {
			t.Errorf("step %d: %+v, want %+v", i, got, step.want)
		}
	}
	r.Note(start, "kafka", []setting.Error{wrong})
	ends := start.Add(time.Hour)
	if got := r.Reports("kafka", map[string]time.Time{"ca_file": ends, "cert_file": ends}); len(got) != 2 || got[0].Because != "no PEM" || !got[0].Ends.Equal(ends) || got[1] != (Report{Setting: "kafka.cert_file", Ends: ends}) {
		t.Errorf("with the ends of what is in use: %+v", got)
	}
}
