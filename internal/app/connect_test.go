package app

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/lab/authority"
	"github.com/contactsync/contactsync/internal/lab/loopback"
	"github.com/contactsync/contactsync/internal/setting"
	"github.com/contactsync/contactsync/upstream"
)

// place is all that a service meets, and settings that fit: a cluster with logins and rights, and
// an API that asks for a certificate, each with TLS.
type place struct {
	t        *testing.T
	mine     *authority.Authority
	dir      string
	withheld string // right that the user does not have, as "READ contacts"
	noTopic  string
	members  string // of which kind the members of the group are; empty where it has none
	plain    bool   // the cluster without TLS
	api      http.HandlerFunc
	apiTLS   func(*tls.Config)
	change   func(*config.Config)
}

const (
	connectUser   = "sync"
	connectSecret = "canary-secret-0123456789abcdef0123"
)

func (p *place) file(name, text string) string {
	p.t.Helper()
	file := filepath.Join(p.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return file
}

func (p *place) pair(by *authority.Authority, until time.Time) tls.Certificate {
	p.t.Helper()
	pair, err := by.Issue(x509.Certificate{
		Subject: pkix.Name{CommonName: "client"}, NotAfter: until, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return pair
}

// certify writes a certificate and its key.
func (p *place) certify(c *config.Config, by *authority.Authority, until time.Time) {
	p.t.Helper()
	cert, key, err := authority.PEM(p.pair(by, until))
	if err != nil {
		p.t.Fatal(err)
	}
	c.Upstream.CertFile, c.Upstream.KeyFile = p.file("cert.pem", string(cert)), p.file("key.pem", string(key))
}

func newTestAuthority(t *testing.T) *authority.Authority {
	t.Helper()
	a, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// settings starts the place and returns settings that fit it, changed.
func (p *place) settings() config.Config {
	p.t.Helper()
	p.mine, p.dir = newTestAuthority(p.t), p.t.TempDir()
	cfg := config.DefaultConfig()
	cfg.Kafka.Brokers = []string{p.cluster()}
	cfg.Kafka.DialTimeout = 8 * time.Second
	cfg.Kafka.SASL = kafka.SASL{Mechanism: kafka.Plain, Username: connectUser, PasswordFile: p.file("password", connectSecret), AllowPlaintext: true}
	ca := p.file("ca.pem", string(p.mine.PEM))
	cfg.Kafka.TLS = kafka.TLS{Enabled: !p.plain, CAFile: ca}
	if p.plain {
		cfg.Kafka.TLS = kafka.TLS{}
	}
	cfg.Consumer.Topics, cfg.Consumer.Group, cfg.Consumer.ProgressTopic, cfg.DeadLetter.Topic = []string{"contacts"}, "g", "progress", "dead"
	cfg.Upstream.CAFile, cfg.Upstream.Timeout = ca, 5*time.Second
	p.certify(&cfg, p.mine, time.Now().Add(time.Hour))
	cfg.Upstream.Accounts = []upstream.Account{{
		ID: "acme", Host: p.serve(), Streams: []string{"st-1"},
		Credentials: upstream.Credentials{ClientID: "cs-1", ClientSecretFile: p.file("secret", connectSecret)},
	}}
	cfg.Upstream.SetDefaults()
	if p.change != nil {
		p.change(&cfg)
	}
	if problems := cfg.Validate(); len(problems) > 0 {
		p.t.Fatal(problems)
	}
	return cfg
}

func (p *place) cluster() string {
	p.t.Helper()
	var acls []kfake.ACL
	allow := func(kind kmsg.ACLResourceType, name string, word string, operation kmsg.ACLOperation) {
		if p.withheld != word+" "+name {
			acls = append(acls, kfake.ACL{Resource: kind, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: operation, Allow: true})
		}
	}
	allow(kmsg.ACLResourceTypeGroup, "g", "READ", kmsg.ACLOperationRead)
	allow(kmsg.ACLResourceTypeTopic, "progress", "READ", kmsg.ACLOperationRead)
	allow(kmsg.ACLResourceTypeTopic, "progress", "WRITE", kmsg.ACLOperationWrite)
	for name, operation := range map[string]kmsg.ACLOperation{"contacts": kmsg.ACLOperationRead, "dead": kmsg.ACLOperationWrite} {
		allow(kmsg.ACLResourceTypeTopic, name, strings.ToUpper(operation.String()), operation)
		for _, more := range []kmsg.ACLOperation{kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs} {
			allow(kmsg.ACLResourceTypeTopic, name, "", more)
		}
	}
	options := []kfake.Opt{kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(), kfake.User("PLAIN", connectUser, connectSecret, acls...), kfake.Superuser("PLAIN", "admin", "admin")}
	for _, topic := range []string{"contacts", "dead", "progress"} {
		if topic != p.noTopic {
			options = append(options, kfake.SeedTopics(2, topic))
		}
	}
	if !p.plain {
		options = append(options, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{p.pair(p.mine, time.Time{})}}))
	}
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(cluster.Close)
	if p.members != "" {
		cluster.ControlKey(int16(kmsg.DescribeGroups), func(request kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			res, g := request.ResponseKind().(*kmsg.DescribeGroupsResponse), kmsg.NewDescribeGroupsResponseGroup()
			g.Group, g.State, g.ProtocolType, g.AuthorizedOperations = "g", "Stable", p.members, 1<<3
			g.Members = append(g.Members, kmsg.NewDescribeGroupsResponseGroupMember())
			res.Groups = append(res.Groups, g)
			return res, nil, true
		})
	}
	return cluster.ListenAddrs()[0]
}

func (p *place) serve() string {
	p.t.Helper()
	answer := p.api
	if answer == nil {
		answer = status(http.StatusOK, "application/json")
	}
	s := httptest.NewUnstartedServer(answer)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{p.pair(p.mine, time.Time{})}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}
	s.TLS.ClientCAs.AppendCertsFromPEM(p.mine.PEM)
	if p.apiTLS != nil {
		p.apiTLS(s.TLS)
	}
	s.StartTLS()
	p.t.Cleanup(s.Close)
	return s.URL
}

// write returns a file with a text.
func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// status answers with a status and a body of a content type.
func status(code int, content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", content)
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, `"Zebulon %d"`, code)
	}
}

func skewed(by time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
		status(http.StatusUnauthorized, "application/json")(w, r)
	}
}

// silent returns the address of a port that accepts connections, and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// Each of these could not run. Each is refused by the setting to change, or with the right to
// grant, and nothing that a host sent is repeated.
func TestCheckConnect_RefusesWhatCannotRun(t *testing.T) {
	t.Parallel()
	free, err := loopback.Free(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		place     place
		key, want string
	}{
		"no topic":                          {place{noTopic: "contacts"}, "consumer.topics", `topic "contacts"`},
		"no dead-letter topic":              {place{noTopic: "dead"}, "deadletter.topic", `topic "dead" does not exist`},
		"no READ on the topic":              {place{withheld: "READ contacts"}, "consumer.topics", `grant the service's user READ on topic "contacts"`},
		"a group of others":                 {place{members: "connect"}, "consumer.group", "no consumers"},
		"no READ on the group":              {place{withheld: "READ g"}, "consumer.group", `grant the service's user READ on`},
		"no WRITE on the dead-letter topic": {place{withheld: "WRITE dead"}, "deadletter.topic", `grant the service's user WRITE on topic "dead"`},
		"no WRITE on the progress topic":    {place{withheld: "WRITE progress"}, "consumer.progress_topic", `grant the service's user WRITE on topic "progress"`},
		"no READ on the progress topic":     {place{withheld: "READ progress"}, "consumer.progress_topic", `grant the service's user READ on topic "progress"`},
		"wrong password": {place{change: func(c *config.Config) {
			c.Kafka.SASL.PasswordFile = write(t, "another-canary-secret")
		}}, "kafka.sasl.password_file", "user name, password or mechanism"},
		"wrong mechanism":     {place{change: func(c *config.Config) { c.Kafka.SASL.Mechanism = kafka.ScramSHA512 }}, "kafka.sasl.", "mechanism"},
		"no login":            {place{change: func(c *config.Config) { c.Kafka.SASL = kafka.SASL{} }}, "kafka.", "login"},
		"no TLS to a port":    {place{change: func(c *config.Config) { c.Kafka.TLS = kafka.TLS{} }}, "kafka.tls.enabled", "speak TLS"},
		"TLS to a plain port": {place{plain: true, change: func(c *config.Config) { c.Kafka.TLS.Enabled = true }}, "kafka.brokers", "TLS"},
		"brokers of another authority": {place{change: func(c *config.Config) {
			c.Kafka.TLS.CAFile = write(t, string(newTestAuthority(t).PEM))
		}}, "kafka.tls.ca_file", "authority that is not trusted"},
		"brokers of another name":    {place{change: func(c *config.Config) { c.Kafka.TLS.ServerName = "kafka.test" }}, "kafka.brokers", "for other names"},
		"brokers without an address": {place{change: func(c *config.Config) { c.Kafka.Brokers = []string{"kafka.invalid:9092"} }}, "kafka.brokers", "the host's name "},
		"brokers that say nothing":   {place{plain: true, change: func(c *config.Config) { c.Kafka.Brokers, c.Kafka.DialTimeout = []string{silent(t)}, time.Second }}, "kafka.brokers", "timed out"},
		"nothing listens":            {place{change: func(c *config.Config) { c.Kafka.Brokers = free }}, "kafka.brokers", "nothing listens"},

		"API: wrong secret":     {place{api: status(401, "application/json")}, "upstream.accounts[0].credentials", "client id and secret"},
		"API: no scope":         {place{api: status(403, "application/json")}, "upstream.accounts[0].credentials", "scope Configuration"},
		"API: a firewall":       {place{api: status(403, "text/html")}, "upstream.accounts[0].host", "gateway"},
		"API: wrong path":       {place{api: status(404, "text/html")}, "upstream.accounts[0].host", "base path"},
		"API: a portal":         {place{api: status(200, "text/html")}, "upstream.accounts[0].host", "html"},
		"API: a redirect":       {place{api: status(301, "text/html")}, "upstream.accounts[0].host", "leads elsewhere"},
		"API: down":             {place{api: status(502, "text/html")}, "upstream.accounts[0].host", "502"},
		"API: clock ahead":      {place{api: skewed(-time.Hour)}, "upstream.accounts[0].credentials", "ahead of the API's"},
		"API: clock behind":     {place{api: skewed(time.Hour)}, "upstream.accounts[0].credentials", "behind the API's"},
		"API: host not known":   {place{change: func(c *config.Config) { c.Upstream.Accounts[0].Host = "https://api.invalid" }}, "upstream.accounts[0].host", "the host's name "},
		"API: nothing listens":  {place{change: func(c *config.Config) { c.Upstream.Accounts[0].Host = "https://" + free[0] }}, "upstream.accounts[0].host", "nothing listens"},
		"API: other authority":  {place{change: func(c *config.Config) { c.Upstream.CAFile = "" }}, "upstream.ca_file", "not trusted"},
		"API: certificate away": {place{change: func(c *config.Config) { c.Upstream.CertFile, c.Upstream.KeyFile = "", "" }}, "upstream.cert_file", "asks for one"},
		"API: no TLS":           {place{apiTLS: func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }}, "upstream.accounts[0].host", "TLS 1.2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.place.t = t
			cfg := tt.place.settings()
			if problems := cfg.CheckFiles(); len(problems) > 0 {
				t.Fatal(problems)
			}
			found := CheckConnect(t.Context(), cfg, "", slog.New(slog.DiscardHandler))
			var fatal []setting.Error
			for _, f := range found {
				if f.Fatal {
					fatal = append(fatal, f.Error)
				}
				if strings.Contains(f.Problem, "Zebulon") || strings.Contains(f.Problem, "canary") {
					t.Errorf("repeats what nobody should read: %v", f)
				}
			}
			if len(fatal) != 1 || !strings.HasPrefix(fatal[0].Key, tt.key) || !strings.Contains(fatal[0].Problem, tt.want) {
				t.Errorf("got %v, want %s: %q", found, tt.key, tt.want)
			}
		})
	}
}

// A client certificate that has expired is refused before anything is asked.
func TestCheckFiles_ExpiredClientCertificate(t *testing.T) {
	t.Parallel()
	p := place{t: t}
	p.change = func(c *config.Config) { p.certify(c, p.mine, time.Now().Add(-time.Minute)) }
	problems := p.settings().CheckFiles()
	if len(problems) != 1 || problems[0].Key != "upstream.cert_file" || !strings.Contains(problems[0].Problem, "expired at") {
		t.Errorf("got %v", problems)
	}
}

// What could run is not refused, and nothing is left behind.
func TestCheckConnect_ChangesNothing(t *testing.T) {
	t.Parallel()
	p := place{t: t, members: "consumer"} // other replicas
	var methods []string
	p.api = func(w http.ResponseWriter, r *http.Request) {
		methods = append(methods, r.Method)
		status(http.StatusOK, "application/json")(w, r)
	}
	cfg := p.settings()
	if found := CheckConnect(t.Context(), cfg, "", slog.New(slog.DiscardHandler)); Fatal(found) || fmt.Sprint(methods) != "[GET]" {
		t.Errorf("asked %v, found %v", methods, found)
	}
	cfg.Kafka.SASL.Username, cfg.Kafka.SASL.PasswordFile = "admin", write(t, "admin")
	client, err := kafka.New(cfg.Kafka, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, topic := range []string{"contacts", "dead", "progress"} {
		for partition := range int32(2) {
			at := contactsync.TopicPartition{Topic: topic, Partition: partition}
			if bounds, err := client.Bounds(t.Context(), at); err != nil || bounds.End != 0 {
				t.Errorf("%v ends at %d: %v", at, bounds.End, err)
			}
		}
	}
}
