package kafka_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/lab/authority"
)

// tlsListener asks for certificates, and knows whose connections are open.
type tlsListener struct {
	net.Listener
	settings *tls.Config

	mu   sync.Mutex
	open map[*tls.Conn]bool
}

type listed struct {
	*tls.Conn
	in *tlsListener
}

func (l *tlsListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	secure := tls.Server(conn, l.settings)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[secure] = true
	return listed{secure, l}, nil
}

func (c listed) Close() error {
	c.in.mu.Lock()
	delete(c.in.open, c.Conn)
	c.in.mu.Unlock()
	return c.Conn.Close()
}

// of returns how many connections of a certificate are open.
func (l *tlsListener) of(name string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		if peers := c.ConnectionState().PeerCertificates; len(peers) > 0 && peers[0].Subject.CommonName == name {
			n++
		}
	}
	return n
}

// renewing is a client with a certificate, named "first", of a cluster that has the
// topic contacts with one empty partition.
type renewing struct {
	*kafka.Client
	t        *testing.T
	ca       ca
	dir      string
	cluster  *kfake.Cluster
	listener *tlsListener
	freshen  func(now time.Time)
}

func newRenewing(t *testing.T) *renewing {
	t.Helper()
	r := &renewing{t: t, ca: newAuthority(t), dir: t.TempDir()}
	settings := r.ca.brokerTLS(t, "broker")
	settings.ClientAuth, settings.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	settings.ClientCAs.AppendCertsFromPEM(r.ca.PEM)
	r.cluster = newCluster(t, kfake.SeedTopics(1, "contacts"), kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		r.listener = &tlsListener{Listener: l, settings: settings, open: map[*tls.Conn]bool{}}
		return r.listener, err
	}))
	cfg := configFor(r.cluster.ListenAddrs()...)
	cfg.TLS = kafka.TLS{Enabled: true, CAFile: write(t, r.dir, "ca.pem", r.ca.PEM)}
	cfg.TLS.CertFile, cfg.TLS.KeyFile = r.certify(r.ca, "first")
	r.Client = newClient(t, cfg, "contacts")
	freshen := kafka.Renewals(r.Client)
	r.freshen = func(now time.Time) { freshen(t.Context(), now) }
	return r
}

// certify replaces the client's certificate and key.
func (r *renewing) certify(by ca, name string) (certFile, keyFile string) {
	r.t.Helper()
	cert, key := by.issue(r.t, name)
	return write(r.t, r.dir, "cert.pem", cert), write(r.t, r.dir, "key.pem", key)
}

func (r *renewing) ask() {
	r.t.Helper()
	if _, err := r.Bounds(r.t.Context(), only); err != nil {
		r.t.Error(err)
	}
}

var only = contactsync.TopicPartition{Topic: "contacts"}

// gone waits until no connection of a certificate is open.
func (r *renewing) gone(name string) {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); r.listener.of(name) > 0; {
		if time.Now().After(end) {
			r.t.Fatalf("%d connections of %q are still open", r.listener.of(name), name)
		}
		time.Sleep(time.Millisecond) // the broker's side of a real connection
	}
}

func TestClient_RenewsItsConnectionsWhenAFileChanges(t *testing.T) {
	t.Parallel()
	r := newRenewing(t)
	asked := make(chan struct{}, 10)
	r.cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		asked <- struct{}{}
		return nil, nil, false
	})
	member := r.NewGroup((&contacts{}).membership())
	b := contacts{t: t}
	gen := b.next(member)
	defer b.leave(member)
	inFlight := make(chan error, 1)
	go func() {
		_, err := r.Fetch(t.Context(), kafka.FetchRequest{Partition: only, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: 2 * time.Second})
		inFlight <- err
	}()
	<-asked

	r.certify(r.ca, "second")
	r.freshen(time.Now())
	r.ask()
	if n := r.listener.of("second"); n == 0 {
		t.Error("the first request after the change did not use the new certificate")
	}
	if err := <-inFlight; err != nil {
		t.Errorf("what was in flight: %v", err)
	}
	// A heartbeat every 50 ms goes to a new connection, too.
	r.gone("first")
	if failed, err := member.Commit(t.Context(), gen, []kafka.Committed{{TopicPartition: only, Offset: 0}}); err != nil || failed[0] != nil {
		t.Errorf("commit: %v, %v", failed, err)
	}
	if gen.Ended.Err() != nil || gen.Lost.Err() != nil {
		t.Error("the generation has ended")
	}
}

func TestClient_KeepsItsConnectionsWhereNewOnesWouldFail(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(r *renewing){
		"half replaced": func(r *renewing) { cert, _ := r.ca.issue(r.t, "second"); write(r.t, r.dir, "cert.pem", cert) },
		"refused":       func(r *renewing) { r.certify(newAuthority(r.t), "second") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRenewing(t)
			r.ask()
			damage(r)
			now := time.Now()
			r.freshen(now)
			r.ask()
			if r.listener.of("first") == 0 {
				t.Error("the connections that worked are gone")
			}
			r.certify(r.ca, "second")
			r.freshen(now.Add(kafka.RenewalPause))
			r.ask()
			r.gone("first")
		})
	}
}

// Files that cannot be used are counted, and connections are made as before, new ones too.
func TestClient_MakesNewConnectionsWhileItsFilesCannotBeUsed(t *testing.T) {
	t.Parallel()
	r := newRenewing(t)
	unusable := map[string]int{}
	r.OnUnusableFiles(func(setting string) { unusable[setting]++ })
	freshen := kafka.Renewals(r.Client)
	for name, content := range map[string]string{"cert.pem": "", "key.pem": "-----BEGIN PRIVATE KEY-----", "ca.pem": "no certificate"} {
		file := filepath.Join(r.dir, name)
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, r.dir, name, []byte(content))
		freshen(t.Context(), time.Now())
		conn, err := r.Dialer().DialContext(t.Context(), "tcp", r.cluster.ListenAddrs()[0])
		if err != nil {
			t.Errorf("%s cannot be used, and no connection can be made: %v", name, err)
			continue
		}
		if _, err := conn.Brokers(); err != nil {
			t.Errorf("%s cannot be used, and neither can a connection: %v", name, err)
		}
		_ = conn.Close()
		write(t, r.dir, name, good)
	}
	freshen(t.Context(), time.Now()) // good ones are not counted
	if want := map[string]int{"kafka.tls.ca_file": 1, "kafka.tls.cert_file": 1, "kafka.tls.key_file": 1}; !maps.Equal(unusable, want) {
		t.Errorf("readings were counted as %v, want %v", unusable, want)
	}
}

// Each file that is in use, so that its series starts at zero, and no other.
func TestConfig_FilesAreThoseInUse(t *testing.T) {
	t.Parallel()
	c := kafka.DefaultConfig()
	c.TLS.CAFile, c.TLS.CertFile, c.TLS.KeyFile, c.SASL.PasswordFile = "ca", "cert", "key", "password"
	if got := c.Files(); len(got) != 0 {
		t.Errorf("without TLS and a login: %v", got)
	}
	c.TLS.Enabled, c.SASL.Mechanism = true, "PLAIN"
	if got := strings.Join(c.Files(), " "); got != "kafka.sasl.password_file kafka.tls.ca_file kafka.tls.cert_file kafka.tls.key_file" {
		t.Errorf("the files are %s", got)
	}
}

// The end of a certificate is that of the file in use, also while what the file holds cannot be used.
func TestClientFiles_SayWhatIsInUseAndWhatIsRefused(t *testing.T) {
	t.Parallel()
	r := newRenewing(t)
	now := time.Now().Truncate(time.Second)
	put := func(until time.Time) {
		t.Helper()
		pair, err := r.ca.Issue(x509.Certificate{Subject: pkix.Name{CommonName: "first"}, NotAfter: until})
		if err != nil {
			t.Fatal(err)
		}
		cert, key, err := authority.PEM(pair)
		if err != nil {
			t.Fatal(err)
		}
		write(t, r.dir, "cert.pem", cert)
		write(t, r.dir, "key.pem", key)
	}
	for i, step := range []struct {
		name        string
		until, want time.Time
	}{
		{"another one", now.Add(20 * time.Minute), now.Add(20 * time.Minute)},
		{"one that has ended", now.Add(-time.Minute), now.Add(20 * time.Minute)},
		{"a third one", now.Add(40 * time.Minute), now.Add(40 * time.Minute)},
	} {
		put(step.until)
		r.freshen(now.Add(time.Duration(i+1) * time.Minute))
		found := false
		for _, f := range kafka.Files(r.Client) {
			refused := step.until.Before(now)
			if found = found || f.Setting == "kafka.tls.cert_file"; f.Setting == "kafka.tls.cert_file" && (!f.Ends.Equal(step.want) || f.RefusedSince.IsZero() == refused || (f.Because == "") == refused) {
				t.Errorf("%s: %+v, want one that ends at %v, refused %v", step.name, f, step.want, refused)
			}
		}
		if !found {
			t.Errorf("%s: nothing is known of the certificate: %+v", step.name, kafka.Files(r.Client))
		}
	}
	plain := newClient(t, configFor(r.cluster.ListenAddrs()...), "contacts")
	if got := kafka.Files(plain); len(got) != 0 {
		t.Errorf("without TLS there are %v", got)
	}
}

func TestClient_RenewsItsConnectionsAtAnAge(t *testing.T) {
	t.Parallel()
	r := newRenewing(t)
	r.ask()
	before := r.open()
	age := kafka.DefaultConfig().ConnectionMaxAge
	r.freshen(time.Now().Add(age - time.Minute))
	r.ask()
	for c := range before {
		if !r.open()[c] {
			t.Fatal("a connection was closed too early")
		}
	}
	r.freshen(time.Now().Add(age))
	r.ask()
	r.closed(before)
}

func TestClient_RenewsItsConnectionsAfterARefusal(t *testing.T) {
	t.Parallel()
	r := newRenewing(t)
	r.ask()
	before := r.open()
	r.freshen(time.Now().Add(kafka.RefusalPause))
	r.cluster.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		res := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		p := kmsg.NewListOffsetsResponseTopicPartition()
		p.ErrorCode = 29 // TOPIC_AUTHORIZATION_FAILED
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic, topic.Partitions = "contacts", []kmsg.ListOffsetsResponseTopicPartition{p}
		res.Topics = append(res.Topics, topic)
		return res, nil, true
	})
	if _, err := r.Bounds(t.Context(), only); err == nil {
		t.Fatal("not refused")
	}
	for c := range before {
		if !r.open()[c] {
			t.Fatal("a connection was closed although nothing had been refused")
		}
	}
	r.freshen(time.Now().Add(kafka.RefusalPause))
	r.ask()
	r.closed(before)
}

func (r *renewing) open() map[*tls.Conn]bool {
	r.listener.mu.Lock()
	defer r.listener.mu.Unlock()
	open := map[*tls.Conn]bool{}
	for c := range r.listener.open {
		open[c] = true
	}
	return open
}

// closed waits until none of these connections is open.
func (r *renewing) closed(before map[*tls.Conn]bool) {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		left := 0
		for c := range r.open() {
			if before[c] {
				left++
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("%d old connections are still open", left)
		}
	}
}
