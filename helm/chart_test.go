// Package helm tests that the chart and the service agree.
package helm

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/contactsync/contactsync/internal/config"
)

// TestValues_HoldValidSettings loads the settings of every example of values as the
// service would.
func TestValues_HoldValidSettings(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("contactsync/ci/*-values.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("examples of values: %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var values struct {
			Config map[string]any `yaml:"config"`
		}
		if err := yaml.Unmarshal(text, &values); err != nil {
			t.Fatal(err)
		}
		settings, err := yaml.Marshal(values.Config)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "contactsync.yaml")
		if err := os.WriteFile(path, settings, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(path, nil); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestGracePeriod_IsLongerThanShutdown keeps Kubernetes from killing a pod that shuts down.
func TestGracePeriod_IsLongerThanShutdown(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("contactsync/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values struct {
		Grace int `yaml:"terminationGracePeriodSeconds"`
	}
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	if stop := config.DefaultConfig().Shutdown.Timeout; time.Duration(values.Grace)*time.Second <= stop {
		t.Errorf("terminationGracePeriodSeconds is %d s, shutdown.timeout is %v", values.Grace, stop)
	}
}

// TestMemoryLimit_FollowsTheSettings keeps the limit above what the service may take.
func TestMemoryLimit_FollowsTheSettings(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("contactsync/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values struct {
		Resources struct {
			Limits struct{ Memory string }
		}
	}
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	mebibytes, err := strconv.Atoi(strings.TrimSuffix(values.Resources.Limits.Memory, "Mi"))
	if err != nil {
		t.Fatal(err)
	}
	if least := 2*int64(config.DefaultConfig().Batcher.WindowBytes) + 256<<20; int64(mebibytes)<<20 < least {
		t.Errorf("the memory limit is %d MiB, and the settings want %d", mebibytes, least>>20)
	}
}

// Each value is allowed by the schema, and described in the table.
func TestValues_AreInTheSchemaAndTheTable(t *testing.T) {
	t.Parallel()
	var values, schema map[string]any
	if err := yaml.Unmarshal([]byte(read(t, "contactsync/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(read(t, "contactsync/values.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	monitor := schema["$defs"].(map[string]any)["monitor"]
	table := read(t, "contactsync/README.md")
	whole := []string{"config", "resources"} // described as one, and open
	var check func(path string, values, schema map[string]any)
	check = func(path string, values, schema map[string]any) {
		known, _ := schema["properties"].(map[string]any)
		for name, value := range values {
			below, ok := known[name].(map[string]any)
			if !ok {
				t.Errorf("the schema refuses %s%s", path, name)
				continue
			}
			if below["$ref"] == "#/$defs/monitor" {
				below = monitor.(map[string]any)
			}
			if values, ok := value.(map[string]any); ok && below["properties"] != nil && !slices.Contains(whole, name) && len(values) > 0 {
				check(path+name+".", values, below)
				continue
			}
			listed := path + name
			if _, of, ok := strings.Cut(path, "Monitor."); ok && name != "enabled" {
				listed = "…." + of + name
			}
			if !strings.Contains(table, "`"+listed+"`") {
				t.Errorf("the table lacks %s%s", path, name)
			}
		}
	}
	check("", values, schema)
}
