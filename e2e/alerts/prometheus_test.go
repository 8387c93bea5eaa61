//go:build alerts

package alerts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/loopback"
)

// scale is how many times shorter everything is here than in the rules.
const scale = 100

// thresholds that are times. One has to be a bucket.
var thresholds = map[string]string{"lateSeconds": "5", "notMovingSeconds": "6", "oldestSeconds": "18"}

var (
	duration  = regexp.MustCompile(`(\[|for: )(\d+)([smhd])\b`)
	young     = regexp.MustCompile(`(process_start_time_seconds < )(\d+)`)
	threshold = regexp.MustCompile(`[0-9.]+((?:\(\[\.\]0\)\?)?"?) # threshold (\w+)\n`)
	named     = regexp.MustCompile(`- alert: (\w+)`)
)

// scaled returns the chart's rules with shorter times, and the names of the alerts.
func scaled(t *testing.T) (rules []byte, names []string) {
	t.Helper()
	text, err := os.ReadFile("../../helm/contactsync/files/rules.yaml")
	must(t, err)
	text = duration.ReplaceAllFunc(text, func(found []byte) []byte {
		m := duration.FindSubmatch(found)
		d, err := time.ParseDuration(string(m[2]) + string(m[3]))
		must(t, err)
		return fmt.Appendf(nil, "%s%dms", m[1], (d / scale).Milliseconds())
	})
	text = young.ReplaceAllFunc(text, func(found []byte) []byte {
		m := young.FindSubmatch(found)
		seconds, err := strconv.Atoi(string(m[2]))
		must(t, err)
		return fmt.Appendf(nil, "%s%d", m[1], seconds/scale)
	})
	text = threshold.ReplaceAllFunc(text, func(found []byte) []byte {
		m := threshold.FindSubmatch(found)
		if value, ok := thresholds[string(m[2])]; ok {
			return fmt.Appendf(nil, "%s%s # threshold %s\n", value, m[1], m[2])
		}
		return found
	})
	for _, m := range named.FindAllSubmatch(text, -1) {
		names = append(names, string(m[1]))
	}
	return text, names
}

// prometheus is a running server that scrapes what it is told.
type prometheus struct {
	url     string
	targets string
}

// A scrape that fails ends every series, and so what an alert has waited for: on a busy machine
// half a second is too short for one.
const config = `
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 500ms}
rule_files: [rules.yaml]
scrape_configs:
  - job_name: replicas
    file_sd_configs: [{files: [targets.json], refresh_interval: 1s}]
`

func start(t *testing.T, rules []byte) prometheus {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatal("prometheus is not installed: apt-get install prometheus")
	}
	dir := t.TempDir()
	addrs, err := loopback.Free(t.Context(), 1)
	must(t, err)
	for name, text := range map[string]string{"prometheus.yaml": config, "rules.yaml": string(rules), "targets.json": "[]"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	var said bytes.Buffer
	cmd := exec.Command(path, "--config.file="+filepath.Join(dir, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+addrs[0], "--log.level=warn")
	cmd.Stdout, cmd.Stderr = &said, &said
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("prometheus ended: %v\n%s", err, said.Bytes())
		}
	})
	p := prometheus{url: "http://" + addrs[0], targets: filepath.Join(dir, "targets.json")}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must(t, harness.Wait(ctx, func() bool { return p.get(ctx, "/-/ready", nil) == nil }))
	return p
}

// get asks for a path and decodes the answer into what is not nil.
func (p prometheus) get(ctx context.Context, path string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		return err
	}
	client := http.Client{Timeout: 5 * time.Second}
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, res.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// targetGroup is what is to be scraped with the same labels.
type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// scrape has the server scrape the replicas, each as the job that its fault is called.
func (p prometheus) scrape(t *testing.T, replicas map[string]string) {
	t.Helper()
	var groups []targetGroup
	for job, addr := range replicas {
		groups = append(groups, targetGroup{[]string{addr}, map[string]string{"job": job}})
	}
	p.write(t, groups)
}

// write has the server scrape the groups from now on.
func (p prometheus) write(t *testing.T, groups []targetGroup) {
	t.Helper()
	text, err := json.Marshal(groups)
	must(t, err)
	must(t, os.WriteFile(p.targets+".new", text, 0o600))
	must(t, os.Rename(p.targets+".new", p.targets))
}

// alert is one that fires.
type alert struct{ Labels, Annotations map[string]string }

// firing returns the alerts that fire.
func (p prometheus) firing(ctx context.Context) (fires []alert, err error) {
	var answer struct {
		Data struct {
			Alerts []struct {
				alert
				State string
			}
		}
	}
	if err := p.get(ctx, "/api/v1/alerts", &answer); err != nil {
		return nil, err
	}
	for _, a := range answer.Data.Alerts {
		if a.State == "firing" {
			fires = append(fires, a.alert)
		}
	}
	return fires, nil
}
