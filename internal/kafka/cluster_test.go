package kafka_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/contactsync/contactsync/internal/kafka"
)

func TestCheckVersions_AcceptsACurrentCluster(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.NumBrokers(3))
	if err := newClient(t, configFor(cluster.ListenAddrs()...)).CheckVersions(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCheckVersions_NamesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	// offer answers as a broker that has changed the range of one API.
	offer := func(key, lowest, highest int16) func(*kmsg.ApiVersionsResponse) {
		return func(r *kmsg.ApiVersionsResponse) {
			for i := range r.ApiKeys {
				if k := &r.ApiKeys[i]; k.ApiKey == key {
					k.MinVersion, k.MaxVersion = lowest, highest
				}
			}
		}
	}
	for _, test := range []struct {
		name   string
		change func(*kmsg.ApiVersionsResponse)
		want   string
	}{
		{"as it is", func(*kmsg.ApiVersionsResponse) {}, ""},
		{"lower end raised past what is sent", offer(1, 12, 17), "takes Fetch (API key 1) in versions 12 to 17, but this service sends 11"},
		{"lower end raised to what is sent", offer(1, 11, 17), ""},
		{"upper end too low", offer(0, 0, 2), "takes Produce (API key 0) in versions 0 to 2"},
		{"a broker without static members", offer(14, 0, 2), "takes SyncGroup (API key 14) in versions 0 to 2, but this service sends 3 to 5"},
		{"a version of the membership dropped", offer(11, 10, 11), "takes JoinGroup (API key 11) in versions 10 to 11, but this service sends 5 to 9"},
		{"all but one dropped", offer(11, 9, 11), ""},
		{
			"API missing",
			func(r *kmsg.ApiVersionsResponse) {
				kept := r.ApiKeys[:0]
				for _, k := range r.ApiKeys {
					if k.ApiKey != 8 {
						kept = append(kept, k)
					}
				}
				r.ApiKeys = kept
			},
			"does not offer OffsetCommit (API key 8)",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cluster := newCluster(t)
			cluster.ControlKey(18, func(request kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				response := request.ResponseKind().(*kmsg.ApiVersionsResponse)
				for key, highest := range highestVersions() {
					k := kmsg.NewApiVersionsResponseApiKey()
					k.ApiKey, k.MaxVersion = key, highest
					response.ApiKeys = append(response.ApiKeys, k)
				}
				test.change(response)
				return response, nil, true
			})
			broker := cluster.ListenAddrs()[0]
			err := newClient(t, configFor(broker)).CheckVersions(t.Context())
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), "broker "+broker+" "+test.want)):
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// highestVersions returns the highest version of each API in Kafka 4.0.
func highestVersions() map[int16]int16 {
	versions := map[int16]int16{}
	kversion.V4_0_0().EachMaxKeyVersion(func(key, highest int16) { versions[key] = highest })
	return versions
}

func TestCheckVersions_LeavesOutABrokerThatIsDown(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	cluster.ControlKey(3, func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		response := request.ResponseKind().(*kmsg.MetadataResponse)
		for _, port := range []int32{1, portOf(t, cluster.ListenAddrs()[0])} {
			b := kmsg.NewMetadataResponseBroker()
			b.NodeID, b.Host, b.Port = port, "127.0.0.1", port
			response.Brokers = append(response.Brokers, b)
		}
		return response, nil, true
	})
	c := newClient(t, configFor("127.0.0.1:1", cluster.ListenAddrs()[0]))
	if err := c.CheckVersions(t.Context()); err != nil {
		t.Error(err)
	}
	alone := newClient(t, configFor("127.0.0.1:1"))
	if err := alone.CheckVersions(t.Context()); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("error %v, want the address that does not answer", err)
	}
}

func TestDescribeTopics_DescribesAndCreatesNothing(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.NumBrokers(3), kfake.AllowAutoTopicCreation())
	admin := newAdmin(t, cluster)
	settings := map[string]*string{
		"cleanup.policy": new("compact,delete"), "min.insync.replicas": new("2"), "max.message.bytes": new("2097152"),
	}
	if _, err := admin.CreateTopic(t.Context(), 6, 3, settings, "events"); err != nil {
		t.Fatal(err)
	}
	// The shared transport knows one topic only; DescribeTopics must not depend on it.
	c := newClient(t, configFor(cluster.ListenAddrs()...), "events")
	topics, err := c.DescribeTopics(t.Context(), "missing", "events")
	if err != nil {
		t.Fatal(err)
	}
	if len(topics) != 2 {
		t.Fatalf("%d topics", len(topics))
	}
	want := kafka.Topic{
		Name: "events", Replicas: 3, CleanupPolicy: "compact,delete",
		MinInsyncReplicas: 2, MaxMessageBytes: 2 << 20,
	}
	if topics[0].Name != "missing" || !errors.Is(topics[0].Err, kafka.ErrNoTopic) {
		t.Errorf("missing: %+v", topics[0])
	}
	if topics[1] != want {
		t.Errorf("events: %+v\nwant %+v", topics[1], want)
	}
	if listed, err := admin.ListTopics(t.Context()); err != nil || listed.Has("missing") {
		t.Errorf("the missing topic was created: %v, %v", listed.Names(), err)
	}
}

// A topic that is being created or deleted may have no partition; one whose replicas
// are being moved has them unevenly.
func TestDescribeTopics_LooksAtEveryPartition(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	cluster.ControlKey(int16(kmsg.Metadata), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		response := request.ResponseKind().(*kmsg.MetadataResponse)
		b := kmsg.NewMetadataResponseBroker()
		b.Host, b.Port = "127.0.0.1", portOf(t, cluster.ListenAddrs()[0])
		response.Brokers = append(response.Brokers, b)
		for name, replicas := range map[string][]int{"empty": nil, "uneven": {2, 1, 3}} {
			topic := kmsg.NewMetadataResponseTopic()
			topic.Topic = &name
			for i, n := range replicas {
				p := kmsg.NewMetadataResponseTopicPartition()
				p.Partition, p.Replicas = int32(i), make([]int32, n)
				topic.Partitions = append(topic.Partitions, p)
			}
			response.Topics = append(response.Topics, topic)
		}
		return response, nil, true
	})
	topics, err := newClient(t, configFor(cluster.ListenAddrs()...)).DescribeTopics(t.Context(), "empty", "uneven")
	if err != nil || len(topics) != 2 {
		t.Fatalf("%+v, %v", topics, err)
	}
	for _, topic := range topics {
		switch {
		case topic.Name == "empty" && !errors.Is(topic.Err, kafka.ErrNoTopic):
			t.Errorf("without a partition: %+v", topic)
		case topic.Name == "uneven" && (topic.Err != nil || topic.Replicas != 1):
			t.Errorf("with 2, 1 and 3 replicas: %+v, want the fewest", topic)
		}
	}
}

func TestDescribeTopics_WithoutTheRightToReadSettings(t *testing.T) {
	t.Parallel()
	right := kfake.ACL{
		Resource: kmsg.ACLResourceTypeTopic, Name: "events", Pattern: kmsg.ACLResourcePatternTypeLiteral,
		Operation: kmsg.ACLOperationDescribe, Allow: true,
	}
	cluster := newCluster(t, kfake.SeedTopics(2, "events", "secret"), kfake.EnableACLs(), kfake.EnableSASL(),
		kfake.User("PLAIN", "user", "pass", right))
	cfg := configFor(cluster.ListenAddrs()...)
	cfg.SASL = kafka.SASL{
		Mechanism: kafka.Plain, Username: "user", AllowPlaintext: true,
		PasswordFile: write(t, t.TempDir(), "password", []byte("pass")),
	}
	topics, err := newClient(t, cfg).DescribeTopics(t.Context(), "events", "secret")
	if err != nil {
		t.Fatal(err)
	}
	if topics[0].Err != nil || topics[0].Replicas != 1 || topics[0].ConfigErr == nil {
		t.Errorf("events: %+v, want it described but for its settings", topics[0])
	}
	if !errors.Is(topics[1].Err, kafka.ErrDenied) || errors.Is(topics[1].Err, kafka.ErrNoTopic) {
		t.Errorf("secret: %+v, want it forbidden", topics[1])
	}
}

func TestDescribeTopics_ClusterDown(t *testing.T) {
	t.Parallel()
	c := newClient(t, configFor("127.0.0.1:1"))
	if _, err := c.DescribeTopics(t.Context(), "events"); err == nil {
		t.Error("no error without a broker")
	}
	if topics, err := c.DescribeTopics(t.Context()); topics != nil || err != nil {
		t.Errorf("no topics asked for: %v, %v", topics, err)
	}
}

// Every metadata request of this package must forbid auto-creation.
func TestClient_NeverAsksForCreation(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "events"))
	var asked, allowed atomic.Int64
	cluster.ControlKey(3, func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		asked.Add(1)
		if r := request.(*kmsg.MetadataRequest); r.Version < 4 || r.AllowAutoTopicCreation {
			allowed.Add(1)
		}
		return nil, nil, false
	})
	c := newClient(t, configFor(cluster.ListenAddrs()...), "events", "missing")
	if err := c.CheckVersions(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DescribeTopics(t.Context(), "missing"); err != nil {
		t.Fatal(err)
	}
	if counts, err := c.Partitions(t.Context(), "events"); err != nil || counts["events"] != 1 {
		t.Errorf("partitions: %v, %v", counts, err)
	}
	if asked.Load() == 0 || allowed.Load() > 0 {
		t.Errorf("%d of %d metadata requests allow the broker to create a topic", allowed.Load(), asked.Load())
	}
}

// What a topic has is asked for, whatever the client was made for and has in its cache.
func TestPartitions_AreThoseOfNow(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "events"))
	cfg := configFor(cluster.ListenAddrs()...)
	cfg.MetadataTTL = time.Minute
	c := newClient(t, cfg, "events")
	if counts, err := c.Partitions(t.Context(), "events"); err != nil || counts["events"] != 1 {
		t.Fatalf("%v, %v", counts, err)
	}
	admin := newAdmin(t, cluster)
	if _, err := admin.CreateTopic(t.Context(), 2, 1, nil, "others"); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CreatePartitions(t.Context(), 4, "events"); err != nil {
		t.Fatal(err)
	}
	if counts, err := c.Partitions(t.Context(), "events", "others"); err != nil || counts["events"] != 5 || counts["others"] != 2 {
		t.Errorf("%v, %v: want 5 and 2 partitions", counts, err)
	}
}

func newAdmin(t *testing.T, cluster *kfake.Cluster) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}
