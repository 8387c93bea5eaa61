//go:build chart

package helm

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
)

// helm is where the go command has built Helm.
var helm = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "tool", "-modfile=tools/tools.mod", "-n", "helm")
	cmd.Dir, cmd.Stderr = "..", os.Stderr
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
})

// render has Helm render the chart with an example of values and more of them.
func render(t *testing.T, example, more string) (objects map[string]object, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "more.yaml")
	if err := os.WriteFile(file, []byte(more), 0o600); err != nil {
		t.Fatal(err)
	}
	program, err := helm()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "template", "release", "contactsync",
		"-n", "crm", "--kube-version", "1.37.0", "-f", "contactsync/ci/"+example+"-values.yaml", "-f", file)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, &refused{said.String()}
	}
	objects = map[string]object{}
	for text := range strings.SplitSeq(string(out), "\n---\n") {
		var o object
		asJSON, err := yaml.YAMLToJSON([]byte(text))
		if err == nil {
			err = json.Unmarshal(asJSON, &o)
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		objects[o.Kind+" "+o.Metadata.Name] = o
	}
	return objects, nil
}

type refused struct{ said string }

func (r *refused) Error() string { return r.said }

type endpoint struct {
	Port, Scheme, Interval, ScrapeTimeout string
	TLSConfig, BasicAuth                  map[string]any
	Relabelings, MetricRelabelings        []any
}

// object is what is looked at of the chart's objects.
type object struct {
	Kind     string
	Metadata struct {
		Name, Namespace string
		Labels          map[string]string
	}
	Data map[string]string
	Spec struct {
		Selector struct {
			MatchLabels map[string]string
		}
		Ports []struct {
			Name, TargetPort string
			Port             int
		}
		Endpoints           []endpoint
		PodMetricsEndpoints []endpoint
		Template            struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				Containers []struct {
					Env          []struct{ Name, Value string }
					EnvFrom      []map[string]any
					Ports        []struct{ Name string }
					VolumeMounts []struct{ Name, MountPath string }
				}
				Volumes []struct{ Name string }
			}
		}
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestRender_MemoryLimitOfGo(t *testing.T) {
	t.Parallel()
	for more, want := range map[string]string{
		"":                                     "724775731", // nine tenths of 768Mi
		"resources: {limits: {memory: 1.5Gi}}": "1449551462",
		"resources: {limits: {memory: 2G}}\ngoMemoryLimitRatio: 0.5":      "1000000000",
		"resources: {limits: {memory: 1073741824}}":                       "966367641",
		"resources: {limits: {memory: null}}":                             "",
		"goMemoryLimitRatio: 0":                                           "",
		"env: [{name: GOMEMLIMIT, value: 100MiB}]":                        "100MiB",
		"env: [{name: A, value: b}]":                                      "724775731",
		"resources: {limits: {memory: 1Ti, cpu: 2}}":                      "989560464998",
		"resources: {limits: {memory: 512Mi}}\ngoMemoryLimitRatio: 1":     "536870912",
		"resources: {limits: {memory: \"800000000\"}}":                    "720000000",
		"resources: {limits: {memory: 786432Ki}}\nenv: []\nenvFrom: []\n": "724775731",
	} {
		pod := must[map[string]object](t)(render(t, "minimal", more))["Deployment release-contactsync"].Spec.Template.Spec
		var got []string
		for _, e := range pod.Containers[0].Env {
			if e.Name == "GOMEMLIMIT" {
				got = append(got, e.Value)
			}
		}
		if strings.Join(got, " and ") != want {
			t.Errorf("%q: GOMEMLIMIT is %v, want %q", more, got, want)
		}
	}
}

func TestRender_WhatIsAddedToThePod(t *testing.T) {
	t.Parallel()
	pod := must[map[string]object](t)(render(t, "full", ""))["Deployment crm-contacts"].Spec.Template.Spec
	c := pod.Containers[0]
	var env, mounts, volumes []string
	for _, e := range c.Env {
		env = append(env, e.Name)
	}
	for _, m := range c.VolumeMounts {
		mounts = append(mounts, m.Name)
	}
	for _, v := range pod.Volumes {
		volumes = append(volumes, v.Name)
	}
	if want := []string{"CONTACTSYNC_CONSUMER_INSTANCE_ID", "GOMEMLIMIT", "HTTPS_PROXY", "CONTACTSYNC_LOG_LEVEL"}; !slices.Equal(env, want) {
		t.Errorf("variables %v, want %v", env, want)
	}
	if len(c.EnvFrom) != 1 || c.EnvFrom[0]["configMapRef"] == nil {
		t.Errorf("variables from %v", c.EnvFrom)
	}
	if want := []string{"config", "secret-kore", "secret-kafka", "secret-web", "company-ca"}; !slices.Equal(mounts, want) || !slices.Equal(volumes, want) {
		t.Errorf("mounts %v, volumes %v, want %v", mounts, volumes, want)
	}
}

// A monitor whose selector or port fits nothing scrapes nothing, without an error.
func TestRender_MonitorsFindThePods(t *testing.T) {
	t.Parallel()
	for kind, example := range map[string]string{"PodMonitor release-contactsync": "monitored", "ServiceMonitor crm-contacts": "full"} {
		all := must[map[string]object](t)(render(t, example, ""))
		monitor, ok := all[kind]
		if !ok {
			t.Fatalf("%s: there is no such object", kind)
		}
		name := monitor.Metadata.Name
		pod, service := all["Deployment "+name].Spec.Template, all["Service "+name]
		labels, ports, endpoints := pod.Metadata.Labels, []string{}, monitor.Spec.PodMetricsEndpoints
		for _, p := range pod.Spec.Containers[0].Ports {
			ports = append(ports, p.Name)
		}
		if monitor.Kind == "ServiceMonitor" {
			if len(service.Spec.Ports) != 1 || !slices.Contains(ports, service.Spec.Ports[0].TargetPort) || service.Spec.Ports[0].Port != 9090 {
				t.Errorf("%s: the Service has the ports %v, the pod %v", kind, service.Spec.Ports, ports)
			}
			labels, ports, endpoints = service.Metadata.Labels, []string{service.Spec.Ports[0].Name}, monitor.Spec.Endpoints
		}
		if len(monitor.Spec.Selector.MatchLabels) == 0 || len(endpoints) != 1 || !slices.Contains(ports, endpoints[0].Port) {
			t.Errorf("%s: selects %v, scrapes %v of %v", kind, monitor.Spec.Selector, endpoints, ports)
		}
		for label, value := range monitor.Spec.Selector.MatchLabels {
			if labels[label] != value {
				t.Errorf("%s: wants %s to be %s, it is %q", kind, label, value, labels[label])
			}
		}
		if monitor.Metadata.Labels["release"] != "monitoring" {
			t.Errorf("%s: the operator does not select %v", kind, monitor.Metadata.Labels)
		}
		if kind == "ServiceMonitor crm-contacts" {
			if e := endpoints[0]; monitor.Metadata.Namespace != "monitoring" || e.Scheme != "https" || e.Interval != "30s" || e.ScrapeTimeout != "10s" ||
				len(e.TLSConfig) != 2 || len(e.BasicAuth) != 2 || len(e.Relabelings) != 1 || len(e.MetricRelabelings) != 1 {
				t.Errorf("%s: %+v", kind, monitor)
			}
		}
	}
}

func TestRender_DashboardIsTheFile(t *testing.T) {
	t.Parallel()
	board := must[map[string]object](t)(render(t, "full", ""))["ConfigMap crm-contacts-dashboard"]
	if board.Metadata.Labels["grafana_dashboard"] != "1" || board.Metadata.Namespace != "monitoring" {
		t.Errorf("the sidecar does not find %+v", board.Metadata)
	}
	if got, want := strings.TrimSpace(board.Data["contactsync.json"]), strings.TrimSpace(read(t, "contactsync/files/dashboard.json")); got != want {
		t.Errorf("%d bytes are not the dashboard's %d", len(got), len(want))
	}
	if other := must[map[string]object](t)(render(t, "monitored", "dashboard: {labels: {dashboards: crm, grafana_dashboard: null}}"))["ConfigMap release-contactsync-dashboard"]; other.Metadata.Labels["dashboards"] != "crm" || other.Metadata.Labels["grafana_dashboard"] != "" {
		t.Errorf("labels %v", other.Metadata.Labels)
	}
}

// What watches the service is there only where it was asked for.
func TestRender_NothingIsWatchedUnlessAskedFor(t *testing.T) {
	t.Parallel()
	var kinds []string
	for _, o := range must[map[string]object](t)(render(t, "minimal", "")) {
		kinds = append(kinds, o.Kind)
	}
	slices.Sort(kinds)
	if want := []string{"ConfigMap", "Deployment", "ServiceAccount"}; !slices.Equal(kinds, want) {
		t.Errorf("objects %v, want %v", kinds, want)
	}
}

func TestRender_RefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	for more, want := range map[string]string{
		"serviceMonitor: {enabled: true}": "there is no Service to scrape",
		"service: {enabled: true}\nserviceMonitor: {enabled: true}\npodMonitor: {enabled: true}": "scraped twice",
		"resources: {limits: {memory: 768m}}":                                                    `resources.limits.memory is "768m"`,
		"resources: {limits: {memory: lots}}":                                                    `resources.limits.memory is "lots"`,
		"goMemoryLimitRatio: 90":                                                                 "goMemoryLimitRatio",
		"podMonitor: {intervall: 30s}":                                                           "intervall",
		"podMonitor: {interval: thirty}":                                                         "interval",
		"env: {HTTPS_PROXY: a}":                                                                  "env",
		"extraVolumeMounts: [{name: a}]":                                                         "mountPath",
		"dashboard: {labels: {grafana_dashboard: 1}}":                                            "grafana_dashboard",
		"terminationGracePeriodSeconds: 20":                                                      "terminationGracePeriodSeconds is 20",
	} {
		if _, err := render(t, "minimal", more); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", more, err, want)
		}
	}
}
