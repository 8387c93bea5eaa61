package broker

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Options describe the broker to start.
type Options struct {
	// Topics are created, with this number of partitions.
	Topics map[string]int32
	// Nodes is the number of brokers; 0 = 1.
	Nodes int
	// Port is that of the first broker, the others have the next ones; 0 = free ones.
	Port int
	// MinSession is the shortest session time-out that groups may ask for; 0 = 100 ms.
	MinSession time.Duration
	// Configs are broker settings as in server.properties.
	Configs map[string]string
}

// Broker is a running cluster.
type Broker struct {
	// Cluster is kfake's own handle, for tests that inject faults, move leaders, or
	// stop and start nodes.
	Cluster *kfake.Cluster

	raw raw
}

// Start starts a cluster. Topics are not created automatically.
func Start(o Options) (*Broker, error) {
	session := o.MinSession
	if session == 0 {
		session = 100 * time.Millisecond
	}
	opts := []kfake.Opt{kfake.NumBrokers(max(1, o.Nodes)), kfake.GroupMinSessionTimeout(session)}
	if o.Port > 0 {
		ports := make([]int, max(1, o.Nodes))
		for i := range ports {
			ports[i] = o.Port + i
		}
		opts = append(opts, kfake.Ports(ports...))
	}
	for topic, n := range o.Topics {
		opts = append(opts, kfake.SeedTopics(n, topic))
	}
	if len(o.Configs) > 0 {
		opts = append(opts, kfake.BrokerConfigs(o.Configs))
	}
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, fmt.Errorf("start the embedded broker: %w", err)
	}
	return &Broker{Cluster: c}, nil
}

// Addrs are the addresses of the brokers.
func (b *Broker) Addrs() []string { return b.Cluster.ListenAddrs() }

// Close ends the cluster and drops its data.
func (b *Broker) Close() { b.Cluster.Close() }
