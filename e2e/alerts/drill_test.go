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
		seconds, _ := v[0].(float64)
		at[int64(seconds)] = v[1]
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

// writeDrill leaves what somebody on call sees of each replica in a folder with a number. Which
// fault has which number is drawn anew each time, and stands in a file of its own.
func writeDrill(t *testing.T, p prometheus, b board, status statusCommand, worlds map[string]*world, addrs map[string]string, seen map[string]map[string]fired, began time.Time) {
	t.Helper()
	now := time.Now()
	var key strings.Builder
	for i, nth := range rand.Perm(len(faults)) {
		name, number := faults[nth].name, fmt.Sprintf("%02d", i+1)
		fmt.Fprintf(&key, "%s  %s\n", number, name)
		var alerts, panels strings.Builder
		for _, alert := range slices.SortedFunc(maps.Keys(seen[name]), func(a, b string) int { return cmp.Compare(seen[name][a].after, seen[name][b].after) }) {
			a := seen[name][alert]
			fmt.Fprintf(&alerts, "Contactsync%s fires since %s\n", alert, began.Add(a.after).Format(time.TimeOnly))
			for _, text := range slices.Sorted(maps.Keys(a.annotations)) {
				fmt.Fprintf(&alerts, "  %s: %s\n", text, a.annotations[text])
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
