//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/e2e/kafka"
)

// checkNamesWhatIsMissing has check --connect look at set-ups of which only the first can run.
func checkNamesWhatIsMissing(t *testing.T, cluster *kafka.Cluster) {
	r := newRun(t, cluster, runOptions{user: user})
	r.allow()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	check := func(env ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), path, "check", "--connect", "--stream", "st-1", "--config", r.settings)
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	until(t, "the rights to be known", func() bool {
		_, err := check()
		return err == nil
	})
	wrong := filepath.Join(r.dir, "wrong")
	if err := os.WriteFile(wrong, []byte("another-password"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		on    kafka.Resource
		right kafka.Right // withdrawn for a time, where on is named
		env   []string
		want  []string
	}{
		{"no READ on the topic", kafka.Resource{Name: r.Topic}, kafka.Read, nil, []string{"consumer.topics: grant the service's user READ on topic"}},
		{"no READ on the group", kafka.Resource{Name: r.Group, Group: true}, kafka.Read, nil, []string{"consumer.group: ", "READ"}},
		{"no WRITE on the dead-letter topic", kafka.Resource{Name: r.DeadLetters}, kafka.Write, nil, []string{"deadletter.topic: grant the service's user WRITE on topic"}},
		{"no topic", kafka.Resource{}, 0, []string{"CONTACTSYNC_CONSUMER_TOPICS=no-such-topic"}, []string{"consumer.topics: ", `topic "no-such-topic"`}},
		{"wrong password", kafka.Resource{}, 0, []string{"CONTACTSYNC_KAFKA_SASL_PASSWORD_FILE=" + wrong}, []string{"kafka.sasl.password_file: the brokers refuse the login"}},
		{"wrong mechanism", kafka.Resource{}, 0, []string{"CONTACTSYNC_KAFKA_SASL_MECHANISM=SCRAM-SHA-512"}, []string{"kafka.sasl.mechanism: the brokers do not take this mechanism"}},
		{"TLS to a plain port", kafka.Resource{}, 0, []string{"CONTACTSYNC_KAFKA_TLS_ENABLED=true"}, []string{"kafka.brokers: ", "TLS"}},
	} {
		if tt.on.Name != "" {
			if err := cluster.Withdraw(t.Context(), user, tt.on, tt.right); err != nil {
				t.Fatal(err)
			}
		}
		// A broker may take a moment to know of rights.
		var out string
		var err error
		for end := time.Now().Add(10 * time.Second); ; {
			if out, err = check(tt.env...); err != nil || time.Now().After(end) {
				break
			}
		}
		for _, want := range tt.want {
			if err == nil || !strings.Contains(out, want) {
				t.Errorf("%s: %v, want %q in\n%s", tt.name, err, want, out)
			}
		}
		if n := strings.Count(out, "error: "); n != 1 {
			t.Errorf("%s: %d errors, want one:\n%s", tt.name, n, out)
		}
		if tt.on.Name != "" {
			if err := cluster.Allow(t.Context(), user, tt.on, tt.right); err != nil {
				t.Fatal(err)
			}
			until(t, "the right to be known again", func() bool {
				_, err := check()
				return err == nil
			})
		}
	}
}
