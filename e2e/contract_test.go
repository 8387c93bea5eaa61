//go:build e2e

package e2e

import (
	"testing"

	"github.com/contactsync/contactsync/consumer/consumertest"
	"github.com/contactsync/contactsync/e2e/kafka"
)

// TestContract runs the consumer's contract on Apache Kafka, the same suite that
// every test run runs on the embedded broker.
func TestContract(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(map[int]string{1: "one node", 3: "three nodes"}[nodes], func(t *testing.T) {
			cluster, err := kafka.Start(t.Context(), kafka.Options{Nodes: nodes, Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := cluster.Stop(); err != nil {
					t.Error(err)
				}
			})
			t.Run("suite", func(t *testing.T) { consumertest.Run(t, cluster.Brokers()) })
		})
	}
}
