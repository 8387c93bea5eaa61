package kafka

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/contactsync/contactsync/internal/lab/loopback"
)

// javaFlags keep a node small and quick to start. Tests are too short for the
// optimising compiler to pay, and it would take their processors.
var javaFlags = []string{
	"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
	"-Dorg.slf4j.simpleLogger.showDateTime=true",
	"-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
	"-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn", // 300 lines a node
}

// node is one Kafka node: controller and broker in one process.
type node struct {
	id             int // 1, 2, 3: also Kafka's node id
	dir            string
	brokerAddr     string
	controllerAddr string
	usersAddr      string // bound only where there are users

	// Guarded by Cluster.mu.
	proc   *process // the last process; nil before the first
	paused bool
}

func (n *node) running() bool { return n.proc != nil && !n.proc.ended() }

func (n *node) propertiesFile() string { return filepath.Join(n.dir, "server.properties") }

func (n *node) logFile() string { return filepath.Join(n.dir, "kafka.log") }

// newNodes makes count nodes with ports that are free now.
func newNodes(ctx context.Context, dir string, count int) ([]*node, error) {
	addrs, err := loopback.Free(ctx, 3*count)
	if err != nil {
		return nil, err
	}
	var nodes []*node
	for i := range count {
		nodes = append(nodes, &node{
			id:             i + 1,
			dir:            filepath.Join(dir, "node-"+strconv.Itoa(i+1)),
			brokerAddr:     addrs[3*i],
			controllerAddr: addrs[3*i+1],
			usersAddr:      addrs[3*i+2],
		})
	}
	return nodes, nil
}

// properties is the configuration of n as one of nodes; those of the options are added last.
func (n *node) properties(nodes []*node, opts Options) map[string]string {
	var voters []string
	for _, m := range nodes {
		voters = append(voters, fmt.Sprintf("%d@%s", m.id, m.controllerAddr))
	}
	copies, insync := strconv.Itoa(len(nodes)), strconv.Itoa(min(2, len(nodes)))
	all := map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        strconv.Itoa(n.id),
		"controller.quorum.voters":       strings.Join(voters, ","),
		"listeners":                      "BROKER://" + n.brokerAddr + ",CONTROLLER://" + n.controllerAddr,
		"advertised.listeners":           "BROKER://" + n.brokerAddr,
		"listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"controller.listener.names":      "CONTROLLER",
		"inter.broker.listener.name":     "BROKER",
		"log.dirs":                       filepath.Join(n.dir, "data"),
		"auto.create.topics.enable":      "false",

		"default.replication.factor":                       copies,
		"min.insync.replicas":                              insync,
		"offsets.topic.replication.factor":                 copies,
		"transaction.state.log.replication.factor":         copies,
		"transaction.state.log.min.isr":                    insync,
		"share.coordinator.state.topic.replication.factor": copies,
		"share.coordinator.state.topic.min.isr":            insync,

		// The defaults of 50 cost seconds of creating files and test nothing more.
		"offsets.topic.num.partitions":         "5",
		"transaction.state.log.num.partitions": "5",
		// A first member need not wait for others, and tests may use short sessions.
		"group.initial.rebalance.delay.ms": "0",
		"group.min.session.timeout.ms":     "1000",
		// A killed node's partitions get new leaders after 4 s in place of 9 s.
		"broker.session.timeout.ms":    "4000",
		"broker.heartbeat.interval.ms": "500",
		// Small machines: fewer threads, and 16 MiB in place of 128 MiB for the cleaner.
		"num.network.threads":                 "2",
		"num.io.threads":                      "4",
		"log.cleaner.dedupe.buffer.size":      "16777216",
		"remote.log.manager.thread.pool.size": "1",
	}
	if len(opts.Users) > 0 {
		login := []string{"org.apache.kafka.common.security.plain.PlainLoginModule required"}
		for _, user := range slices.Sorted(maps.Keys(opts.Users)) {
			login = append(login, fmt.Sprintf("user_%s=%q", user, opts.Users[user]))
		}
		maps.Copy(all, map[string]string{
			"listeners":                                   all["listeners"] + ",USERS://" + n.usersAddr,
			"advertised.listeners":                        all["advertised.listeners"] + ",USERS://" + n.usersAddr,
			"listener.security.protocol.map":              all["listener.security.protocol.map"] + ",USERS:SASL_PLAINTEXT",
			"listener.name.users.sasl.enabled.mechanisms": "PLAIN",
			"listener.name.users.plain.sasl.jaas.config":  strings.Join(login, " ") + ";",
			"authorizer.class.name":                       "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
			"super.users":                                 "User:ANONYMOUS", // nodes and tests, on the other listeners
		})
	}
	maps.Copy(all, opts.Properties)
	return all
}

// write puts the node's properties where its process reads them.
func (n *node) write(properties map[string]string) error {
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return fmt.Errorf("making the directory of Kafka node %d: %w", n.id, err)
	}
	var file bytes.Buffer
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		fmt.Fprintf(&file, "%s=%s\n", key, properties[key])
	}
	if err := os.WriteFile(n.propertiesFile(), file.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the properties of Kafka node %d: %w", n.id, err)
	}
	return nil
}

// format makes the node's empty storage.
func (n *node) format(ctx context.Context, java, libs, clusterID string) error {
	args := append(slices.Clone(javaFlags), "-cp", filepath.Join(libs, "*"),
		"kafka.tools.StorageTool", "format", "-t", clusterID, "-c", n.propertiesFile())
	cmd := exec.CommandContext(ctx, java, args...)
	cmd.SysProcAttr = childAttributes()
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("formatting the storage of Kafka node %d: %w\n%s", n.id, err, tail(output))
	}
	return nil
}

// command is the node's server process; what it prints goes to log.
func (n *node) command(ctx context.Context, java, libs string, log *os.File) *exec.Cmd {
	args := append(slices.Clone(javaFlags), "-cp", filepath.Join(libs, "*"), "kafka.Kafka", n.propertiesFile())
	// The process outlives the context of the call that starts it: Stop ends it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), java, args...)
	cmd.Dir = n.dir
	cmd.Stdout, cmd.Stderr = log, log
	return cmd
}

// lastWords is the end of the node's log, for an error.
func (n *node) lastWords() string {
	output, err := os.ReadFile(n.logFile())
	if err != nil {
		return err.Error()
	}
	return tail(output)
}

func tail(output []byte) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

// newClusterID returns 16 random bytes in Kafka's spelling.
func newClusterID() string {
	var id [16]byte
	rand.Read(id[:])
	id[0] &= 0x7f // a first character of "-" would read as an option
	return base64.RawURLEncoding.EncodeToString(id[:])
}
