// Package helm tests that the chart and the service agree.
package helm

import (
	"os"
	"path/filepath"
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
