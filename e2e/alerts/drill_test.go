//go:build alerts

package alerts

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var drill = flag.String("drill", "", "folder that TestAlerts leaves in what somebody on call sees of each replica, and the key to it")

// drawn is how many of the last values of a series are left.
const drawn = 12

// legend is what a panel calls the series.
func (s series) legend(format string) string {
	for label, value := range s.Metric {
		format = strings.ReplaceAll(format, "{{"+label+"}}", value)
	}
	return format
}

// drawn has the last values in their places, so that what has ended does not look as if it went on.
func (s series) drawn(now time.Time) string {
	at := map[int64]any{}
	for _, v := range s.Values {
		at[seconds(v)] = v[1]
	}
	var b strings.Builder
	for i := now.Unix() - drawn*step; i <= now.Unix(); i += step {
		if value, ok := at[i]; ok {
			fmt.Fprintf(&b, " %.5v", value)
		} else {
			b.WriteString(" -")
		}
	}
	return b.String()
}

// draw puts the faults in an order of chance, with some of those that are none. How many is drawn, too: else who has
// found the others knows the last ones.
func draw() (cases []fault) {
	alike := 0
	for _, f := range faults {
		if len(f.fires) == 0 {
			alike++
		}
	}
	alike = rand.IntN(alike + 1)
	for _, nth := range rand.Perm(len(faults)) {
		f := faults[nth]
		if len(f.fires) == 0 {
			if alike--; alike < 0 {
				continue
			}
		}
		cases = append(cases, f)
	}
	return cases
}

// times says when an alert has fired, by the values of its series.
func (s series) times(now time.Time) string {
	var spells []string
	for i, v := range s.Values {
		at := seconds(v)
		began, goesOn := i == 0 || at-seconds(s.Values[i-1]) > step, i+1 < len(s.Values) && seconds(s.Values[i+1])-at <= step
		if began {
			spells = append(spells, "from "+time.Unix(at, 0).Format(time.TimeOnly))
		}
		switch last := len(spells) - 1; {
		case goesOn:
		case now.Unix()-at <= step:
			spells[last] += " on"
		default:
			spells[last] += " until " + time.Unix(at, 0).Format(time.TimeOnly)
		}
	}
	return strings.Join(spells, ", ")
}

// seconds is the time of a value.
func seconds(v [2]any) int64 {
	at, _ := v[0].(float64)
	return int64(at)
}

// writeDrill leaves what somebody on call sees of each replica in a folder with a number. Which
// fault has which number is drawn anew each time, and stands in a file of its own.
func writeDrill(t *testing.T, p prometheus, b board, status statusCommand, worlds map[string]*world, addrs map[string]string, seen map[string]fired, began time.Time) {
	t.Helper()
	now := time.Now()
	late, err := p.firing(t.Context()) // what has begun to fire while the rest was looked at
	must(t, err)
	for _, a := range late {
		if of := seen[a.Labels["job"]].annotations; of != nil {
			of[instanceOf(a.Labels)] = a.Annotations
		}
	}
	var key strings.Builder
	for i, f := range draw() {
		name, number := f.name, fmt.Sprintf("%02d", i+1)
		fmt.Fprintf(&key, "%s  %s\n", number, name)
		var alerts, panels strings.Builder
		fires, err := p.over(t.Context(), `ALERTS{alertstate="firing", job=~"$job"}`, regexp.QuoteMeta(name), began, now)
		must(t, err)
		slices.SortStableFunc(fires, func(a, b series) int { return cmp.Compare(seconds(a.Values[0]), seconds(b.Values[0])) })
		for _, s := range fires {
			one := instanceOf(s.Metric)
			fmt.Fprintf(&alerts, "%s fires %s\n", strings.TrimSpace("Contactsync"+one.name+" "+one.labels), s.times(now))
			for _, text := range slices.Sorted(maps.Keys(seen[name].annotations[one])) {
				fmt.Fprintf(&alerts, "  %s: %s\n", text, seen[name].annotations[one][text])
			}
		}
		for _, panel := range b.Panels {
			fmt.Fprintf(&panels, "\n%s\n", panel.Title)
			for _, target := range panel.Targets {
				answers, err := p.over(t.Context(), target.Expr, regexp.QuoteMeta(name), now.Add(-drawn*step*time.Second), now)
				must(t, err)
				for _, s := range answers {
					fmt.Fprintf(&panels, "  %s:%s\n", s.legend(target.LegendFormat), s.drawn(now))
				}
			}
		}
		dir := filepath.Join(*drill, "cases", number)
		must(t, os.MkdirAll(dir, 0o700))
		for file, text := range map[string]string{
			"alerts.txt": alerts.String(), "panels.txt": panels.String(),
			"status.txt": string(status(addrs[name], "text")), "log.txt": worlds[name].log.String(),
		} {
			must(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
		}
	}
	must(t, os.WriteFile(filepath.Join(*drill, "key.txt"), []byte(key.String()), 0o600))
}
