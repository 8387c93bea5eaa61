package consumer_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/contactsync/contactsync/consumer/consumertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConsumer_OnTheEmbeddedBroker(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.GroupMinSessionTimeout(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	consumertest.Run(t, cluster.ListenAddrs())
}
