package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// BrokersEnv names the environment variable with a comma-separated list of
// brokers to use in place of own processes.
const BrokersEnv = "KAFKA_BROKERS"

// ErrNotOwned is returned where a node would have to be started, stopped or
// paused, and the brokers come from the environment.
var ErrNotOwned = errors.New("the brokers were named in " + BrokersEnv + " and are not ours to start or stop")

// Options describe the cluster to start. The zero value is one node.
type Options struct {
	// Nodes is 1 (the default) or 3. With three, topics that ask for it have three
	// replicas, and a write needs two of them.
	Nodes int
	// Dir is an empty or missing directory for data and logs, and stays when the
	// cluster stops. When empty, a temporary one is made and removed by Stop.
	Dir string
	// Log gets a line about what takes time and about each start and stop of a
	// node; nil for silence. A node's own log is Dir/node-N/kafka.log.
	Log io.Writer
	// Properties are Kafka's own, for every node; they win over the package's.
	Properties map[string]string
	// Users adds a second listener, where clients log in with PLAIN: passwords by name.
	// They have no right but those of Cluster.Allow. Clients of Brokers stay without a
	// login, and may do everything.
	Users map[string]string
}

// Cluster is one running Kafka cluster. Its methods may be called concurrently from
// several goroutines. Nodes are numbered from 1, which is also their Kafka id.
type Cluster struct {
	java, libs string
	dir        string
	dirIsOurs  bool
	log        io.Writer
	nodes      []*node // empty where the brokers are not ours
	brokers    []string
	secured    []string // the listeners for users; empty where there are none
	admin      *kadm.Client
	wg         sync.WaitGroup // one goroutine for each process

	mu      sync.Mutex // guards stopped, the nodes' guarded fields and writes to log
	stopped bool
}

// Start returns a cluster that answers. ctx bounds the start (a first run also
// downloads 43 MB), not the cluster's life: Stop ends that.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	if opts.Nodes == 0 {
		opts.Nodes = 1
	}
	if opts.Nodes != 1 && opts.Nodes != 3 {
		return nil, fmt.Errorf("starting Kafka: %d nodes are asked for: want 1 or 3", opts.Nodes)
	}
	c := &Cluster{log: opts.Log}
	if c.log == nil {
		c.log = io.Discard
	}
	if named := os.Getenv(BrokersEnv); named != "" {
		c.brokers = strings.Split(named, ",")
		if len(opts.Users) > 0 {
			return nil, fmt.Errorf("starting Kafka with users: %w", ErrNotOwned)
		}
	} else if err := c.prepare(ctx, opts); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	var err error
	if c.admin, err = newAdmin(c.brokers...); err == nil {
		err = c.launch(ctx, opts.Nodes)
	}
	if err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// prepare brings the jars and formats every node's storage.
func (c *Cluster) prepare(ctx context.Context, opts Options) (err error) {
	if c.java, err = findJava(); err != nil {
		return err
	}
	if c.libs, err = install(ctx, c.log); err != nil {
		return err
	}
	if opts.Dir == "" {
		c.dirIsOurs = true
		c.dir, err = os.MkdirTemp("", "contactsync-kafka-")
	} else {
		c.dir, err = filepath.Abs(opts.Dir)
	}
	if err != nil {
		return fmt.Errorf("making a directory for Kafka's data: %w", err)
	}
	if c.nodes, err = newNodes(ctx, c.dir, opts.Nodes); err != nil {
		return err
	}
	id := newClusterID()
	faults := make([]error, len(c.nodes))
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		c.brokers = append(c.brokers, n.brokerAddr)
		if len(opts.Users) > 0 {
			c.secured = append(c.secured, n.usersAddr)
		}
		if err := n.write(n.properties(c.nodes, opts)); err != nil {
			return err
		}
		wg.Go(func() { faults[i] = n.format(ctx, c.java, c.libs, id) })
	}
	wg.Wait()
	return errors.Join(faults...)
}

// launch starts every node and waits until each knows all of them.
func (c *Cluster) launch(ctx context.Context, want int) error {
	begin := time.Now()
	for _, n := range c.nodes {
		if err := c.startProcess(ctx, n); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		if err := c.awaitNode(ctx, n, want); err != nil {
			return err
		}
	}
	if len(c.nodes) > 0 {
		c.printf("%d node(s) up in %.1f s", want, time.Since(begin).Seconds())
		return nil
	}
	seen, err := c.admin.BrokerMetadata(ctx)
	if err != nil {
		return fmt.Errorf("asking the brokers named in %s: %w", BrokersEnv, err)
	}
	if len(seen.Brokers) < want {
		return fmt.Errorf("asking the brokers named in %s: %d brokers where %d are needed", BrokersEnv, len(seen.Brokers), want)
	}
	return nil
}

// Brokers returns the addresses of all nodes, running or not.
func (c *Cluster) Brokers() []string { return append([]string(nil), c.brokers...) }

// Secured returns the addresses where users log in; empty where there are no users.
func (c *Cluster) Secured() []string { return append([]string(nil), c.secured...) }

// Owned reports whether nodes can be killed, stopped, paused and started.
func (c *Cluster) Owned() bool { return len(c.nodes) > 0 }

// Stop kills every node, waits until all are gone and removes a temporary
// directory. It may be called more than once. What it cannot remove it reports.
func (c *Cluster) Stop() error {
	c.mu.Lock()
	c.stopped = true
	var faults []error
	for _, n := range c.nodes {
		if n.running() {
			faults = append(faults, n.proc.signal(syscall.SIGKILL))
		}
	}
	c.mu.Unlock()
	c.wg.Wait()
	if c.admin != nil {
		c.admin.Close()
	}
	if c.dirIsOurs {
		faults = append(faults, os.RemoveAll(c.dir))
	}
	return errors.Join(faults...)
}

// KillNode ends a node by SIGKILL, as a crash would, and waits until it is gone.
// A node that is down already is no error.
func (c *Cluster) KillNode(i int) error {
	p, err := c.signal(i, syscall.SIGKILL)
	if p != nil {
		<-p.done
	}
	return err
}

// StopNode asks a node to hand over its partitions and end, and waits for it.
// When ctx ends first, the node may still be shutting down.
func (c *Cluster) StopNode(ctx context.Context, i int) error {
	p, err := c.signal(i, syscall.SIGTERM)
	if p == nil {
		return err
	}
	select {
	case <-p.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for Kafka node %d to stop: %w", i, context.Cause(ctx))
	}
}

// PauseNode freezes a node: its connections stay open and nothing answers.
func (c *Cluster) PauseNode(i int) error {
	_, err := c.signal(i, syscall.SIGSTOP)
	return err
}

// ResumeNode lets a paused node go on.
func (c *Cluster) ResumeNode(i int) error {
	_, err := c.signal(i, syscall.SIGCONT)
	return err
}

// StartNode starts a node that is down, with the data it had, and waits until it
// takes part again. A node that runs already is no error.
func (c *Cluster) StartNode(ctx context.Context, i int) error {
	n, err := c.node(i)
	if err != nil {
		return err
	}
	if err := c.startProcess(ctx, n); err != nil {
		return err
	}
	if err := c.awaitNode(ctx, n, 1); err != nil {
		return err
	}
	c.printf("node %d: up", i)
	return nil
}

func (c *Cluster) node(i int) (*node, error) {
	if !c.Owned() {
		return nil, ErrNotOwned
	}
	if i < 1 || i > len(c.nodes) {
		return nil, fmt.Errorf("there is no Kafka node %d: they are numbered 1 to %d", i, len(c.nodes))
	}
	return c.nodes[i-1], nil
}

// signal sends sig to node i and returns its process, or nil where there is none.
func (c *Cluster) signal(i int, sig syscall.Signal) (*process, error) {
	n, err := c.node(i)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !n.running() {
		return nil, nil
	}
	n.paused = sig == syscall.SIGSTOP
	c.printLocked("node %d: %v", i, sig)
	return n.proc, n.proc.signal(sig)
}

func (c *Cluster) startProcess(ctx context.Context, n *node) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return fmt.Errorf("starting Kafka node %d: the cluster is stopped", n.id)
	}
	if n.running() {
		return nil
	}
	log, err := os.OpenFile(n.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening the log of Kafka node %d: %w", n.id, err)
	}
	defer log.Close() // the process has its own descriptor
	c.printLocked("node %d: starting at %s", n.id, n.brokerAddr)
	n.proc, err = startProcess(&c.wg, n.command(ctx, c.java, c.libs, log))
	n.paused = false
	return err
}

// awaitNode waits until n itself lists itself and at least want brokers.
func (c *Cluster) awaitNode(ctx context.Context, n *node, want int) error {
	c.mu.Lock()
	p := n.proc
	c.mu.Unlock()
	return poll(ctx, 100*time.Millisecond, fmt.Sprintf("Kafka node %d to answer", n.id), func(ctx context.Context) (bool, error) {
		if p.ended() {
			return false, fmt.Errorf("starting Kafka node %d: it ended (%w); the end of its log:\n%s", n.id, p.err, n.lastWords())
		}
		seen, err := metadata(ctx, n.brokerAddr)
		if err != nil || len(seen.Brokers) < want {
			return false, nil
		}
		for _, b := range seen.Brokers {
			if int(b.NodeID) == n.id {
				return true, nil
			}
		}
		return false, nil
	})
}

func (c *Cluster) printf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.printLocked(format, args...)
}

// printLocked writes one line with the time, which lines it up with the nodes' logs.
func (c *Cluster) printLocked(format string, args ...any) {
	fmt.Fprintf(c.log, "%s kafka: "+format+"\n", append([]any{time.Now().Format("15:04:05.000")}, args...)...)
}

// metadata returns what the broker at addr, and no other, knows.
func metadata(ctx context.Context, addr string, topics ...string) (kadm.Metadata, error) {
	// A broker that is starting, or paused, accepts the connection and does not answer.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client, err := newAdmin(addr)
	if err != nil {
		return kadm.Metadata{}, err
	}
	defer client.Close()
	if len(topics) == 0 {
		return client.BrokerMetadata(ctx)
	}
	return client.Metadata(ctx, topics...)
}

// newAdmin makes a client without cached metadata, which could date from before a
// node went down.
func newAdmin(addrs ...string) (*kadm.Client, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.DialTimeout(2*time.Second),
		kgo.MetadataMinAge(50*time.Millisecond)) // also how long metadata is cached
	if err != nil {
		return nil, fmt.Errorf("making a client for brokers %v: %w", addrs, err)
	}
	return kadm.NewClient(client), nil
}
