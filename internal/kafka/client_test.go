package kafka_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync/internal/kafka"
)

// reach asks for the metadata on both ways into the cluster.
func reach(t *testing.T, c *kafka.Client, broker string) error {
	t.Helper()
	_, viaTransport := c.Raw().Metadata(t.Context(), &kafkago.MetadataRequest{})
	conn, viaDialer := c.Dialer().DialContext(t.Context(), "tcp", broker)
	if viaDialer == nil {
		_, viaDialer = conn.Brokers()
		_ = conn.Close()
	}
	if (viaTransport == nil) != (viaDialer == nil) {
		t.Errorf("transport: %v, dialer: %v", viaTransport, viaDialer)
	}
	return errors.Join(viaTransport, viaDialer)
}

func TestClient_LogsInWithTheFilesAsTheyAre(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{kafka.Plain, kafka.ScramSHA256, kafka.ScramSHA512} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			ca := newAuthority(t)
			cluster := newCluster(t, kfake.EnableSASL(), kfake.Superuser(mechanism, "user", "rotated-secret"), kfake.TLS(ca.brokerTLS(t, "broker")))
			broker, dir := cluster.ListenAddrs()[0], t.TempDir()
			cfg := configFor(broker)
			cfg.TLS = kafka.TLS{Enabled: true, CAFile: write(t, dir, "ca.pem", ca.PEM)}
			cfg.SASL = kafka.SASL{Mechanism: mechanism, Username: "user", PasswordFile: write(t, dir, "password", []byte("outdated-secret\n"))}

			refused := newClient(t, cfg)
			err := reach(t, refused, broker)
			if err == nil {
				t.Fatal("logged in with a wrong password")
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error holds the password: %v", err)
			}
			// The same client must log in with what the file holds by now.
			write(t, dir, "password", []byte("rotated-secret\n"))
			kafka.Renewals(refused)(t.Context(), time.Now())
			conn, err := refused.Dialer().DialContext(t.Context(), "tcp", broker)
			if err != nil {
				t.Fatalf("after the rotation: %v", err)
			}
			_ = conn.Close()
			if err := reach(t, newClient(t, cfg), broker); err != nil {
				t.Error(err)
			}
		})
	}
}

// A broker may write what it likes beside the code of an error.
func TestClient_RepeatsNothingOfABroker(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.EnableSASL(), kfake.Superuser(kafka.Plain, "user", "secret"))
	cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		res := request.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		res.ErrorCode, res.ErrorMessage = 58, new("Zebulon")
		return res, nil, true
	})
	cfg := configFor(cluster.ListenAddrs()[0])
	cfg.SASL = kafka.SASL{Mechanism: kafka.Plain, Username: "user", PasswordFile: write(t, t.TempDir(), "password", []byte("secret")), AllowPlaintext: true}
	c := newClient(t, cfg, "contacts")
	_, asked := c.Raw().Metadata(t.Context(), &kafkago.MetadataRequest{})
	for what, err := range map[string]error{"asking": asked, "joining": kafka.Exchange(t.Context(), c, cfg.Brokers[0])} {
		if !errors.Is(err, kafkago.SASLAuthenticationFailed) || strings.Contains(err.Error(), "Zebulon") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestClient_VerifiesTheBroker(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	old := ca.brokerTLS(t, "broker")
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	for _, test := range []struct {
		name   string
		broker *tls.Config
		as     string
		want   string // part of the error; empty where the connection must come up
	}{
		{"known authority", ca.brokerTLS(t, "broker"), "", ""},
		{"another name, as configured", ca.brokerTLS(t, "kafka.test"), "kafka.test", ""},
		{"another name", ca.brokerTLS(t, "kafka.test"), "", "certificate"},
		{"unknown authority", stranger.brokerTLS(t, "broker"), "", "unknown authority"},
		{"outdated protocol", old, "", "version"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			broker := newCluster(t, kfake.TLS(test.broker)).ListenAddrs()[0]
			cfg := configFor(broker)
			cfg.TLS = kafka.TLS{Enabled: true, CAFile: write(t, t.TempDir(), "ca.pem", ca.PEM), ServerName: test.as}
			err := reach(t, newClient(t, cfg), broker)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestClient_ShowsItsCertificate(t *testing.T) {
	t.Parallel()
	ca, dir := newAuthority(t), t.TempDir()
	settings := ca.brokerTLS(t, "broker")
	settings.ClientAuth = tls.RequireAndVerifyClientCert
	settings.ClientCAs = x509.NewCertPool()
	settings.ClientCAs.AppendCertsFromPEM(ca.PEM)
	broker := newCluster(t, kfake.TLS(settings)).ListenAddrs()[0]
	cert, key := ca.issue(t, "client")

	cfg := configFor(broker)
	cfg.TLS = kafka.TLS{Enabled: true, CAFile: write(t, dir, "ca.pem", ca.PEM)}
	if err := reach(t, newClient(t, cfg), broker); err == nil {
		t.Error("connected without a certificate")
	}
	cfg.TLS.CertFile, cfg.TLS.KeyFile = write(t, dir, "cert.pem", cert), write(t, dir, "key.pem", key)
	if err := reach(t, newClient(t, cfg), broker); err != nil {
		t.Error(err)
	}
}

func TestNew_RefusesFilesThatCannotServe(t *testing.T) {
	t.Parallel()
	dir, ca := t.TempDir(), newAuthority(t)
	cert, _ := ca.issue(t, "client")
	_, otherKey := ca.issue(t, "client")
	missing := filepath.Join(dir, "missing")
	junk := write(t, dir, "junk", []byte("not PEM"))
	for _, test := range []struct {
		name string
		tls  kafka.TLS
		sasl kafka.SASL
		want []string
	}{
		{"missing authority", kafka.TLS{Enabled: true, CAFile: missing}, kafka.SASL{}, []string{"tls.ca_file", "no such file"}},
		{"authority is junk", kafka.TLS{Enabled: true, CAFile: junk}, kafka.SASL{}, []string{"tls.ca_file", junk}},
		{
			"key of another certificate",
			kafka.TLS{Enabled: true, CertFile: write(t, dir, "cert", cert), KeyFile: write(t, dir, "key", otherKey)},
			kafka.SASL{},
			[]string{"tls.key_file", "is not the key of"},
		},
		{"missing password", kafka.TLS{}, kafka.SASL{Mechanism: kafka.ScramSHA256, Username: "u", PasswordFile: missing}, []string{"sasl.password_file", "no such file"}},
		{
			"empty password",
			kafka.TLS{},
			kafka.SASL{Mechanism: kafka.ScramSHA256, Username: "u", PasswordFile: write(t, dir, "empty", []byte("\n"))},
			[]string{"sasl.password_file", "empty"},
		},
		{
			"huge password",
			kafka.TLS{},
			kafka.SASL{Mechanism: kafka.Plain, Username: "u", PasswordFile: write(t, dir, "huge", make([]byte, 2<<20))},
			[]string{"sasl.password_file", "larger"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := configFor("127.0.0.1:1")
			cfg.TLS, cfg.SASL = test.tls, test.sasl
			_, err := kafka.New(cfg, slog.New(slog.DiscardHandler))
			if err == nil {
				t.Fatal("accepted")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not name %q", err, part)
				}
			}
		})
	}
}

// A broker that accepts and says nothing must not hold the dialer: the consumer
// group dials without a context of its own and would stand still for ever.
func TestDialer_GivesUpOnASilentBroker(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	cfg := configFor(listener.Addr().String())
	cfg.DialTimeout = 200 * time.Millisecond
	cfg.SASL = kafka.SASL{Mechanism: kafka.ScramSHA256, Username: "u", PasswordFile: write(t, t.TempDir(), "password", []byte("p"))}
	if _, err := newClient(t, cfg).Dialer().Dial("tcp", cfg.Brokers[0]); err == nil {
		t.Error("connected to a broker that never answered")
	}
}

// Neither must it hold a dial for the whole of the dial time-out: the leaders of its
// partitions move meanwhile.
func TestDialer_GivesUpOnASilentBrokerAfterAThirdOfTheTimeOut(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	cfg := configFor(listener.Addr().String())
	cfg.DialTimeout = 6 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = newClient(t, cfg).Raw().Metadata(ctx, &kafkago.MetadataRequest{})
	if err == nil || ctx.Err() != nil {
		t.Errorf("%v, and the context: %v", err, ctx.Err())
	}
}

// Brokers that accept connections and say nothing cost a moment, wherever they are in the
// list: the one that answers is found long before the dial time-out.
func TestClient_FindsTheBrokerThatAnswers(t *testing.T) {
	t.Parallel()
	brokers := newCluster(t, kfake.SeedTopics(1, "contacts"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "pass")).ListenAddrs()
	for range 3 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		brokers = append([]string{listener.Addr().String()}, brokers...)
	}
	cfg := configFor(brokers...)
	cfg.DialTimeout = time.Minute
	cfg.SASL = kafka.SASL{
		Mechanism: kafka.Plain, Username: "user", AllowPlaintext: true, PasswordFile: write(t, t.TempDir(), "password", []byte("pass")),
	}
	for range 3 { // the order is drawn
		c := newClient(t, cfg, "contacts")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if _, err := c.Partitions(ctx, "contacts"); err != nil {
			t.Fatal(err)
		}
		if err := c.CheckVersions(ctx); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	// Where none answers, each is named.
	dead := configFor("127.0.0.1:1", "127.0.0.1:2")
	err := newClient(t, dead).CheckVersions(t.Context())
	for _, broker := range dead.Brokers {
		if err == nil || !strings.Contains(err.Error(), broker) {
			t.Errorf("%v does not name %s", err, broker)
		}
	}
}

func TestClient_CloseIsFinal(t *testing.T) {
	t.Parallel()
	broker := newCluster(t).ListenAddrs()[0]
	c := newClient(t, configFor(broker))
	held, err := c.Dialer().DialContext(t.Context(), "tcp", broker)
	if err != nil {
		t.Fatal(err)
	}
	if err := reach(t, c, broker); err != nil {
		t.Fatal(err)
	}
	c.Close()
	c.Close()
	if _, err := held.Brokers(); err == nil {
		t.Error("a connection in use outlived Close")
	}
	if err := reach(t, c, broker); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v, want %v", err, net.ErrClosed)
	}
}

func TestClient_KnowsTheGivenTopicsOnly(t *testing.T) {
	t.Parallel()
	broker := newCluster(t, kfake.SeedTopics(1, "events", "other")).ListenAddrs()[0]
	c := newClient(t, configFor(broker), "events")
	res, err := c.Raw().Metadata(t.Context(), &kafkago.MetadataRequest{Topics: []string{"events", "other"}})
	if err != nil {
		t.Fatal(err)
	}
	if res.Topics[0].Error != nil || !errors.Is(res.Topics[1].Error, kafkago.UnknownTopicOrPartition) {
		t.Errorf("errors %v and %v", res.Topics[0].Error, res.Topics[1].Error)
	}
	all, err := newClient(t, configFor(broker)).Raw().Metadata(t.Context(), &kafkago.MetadataRequest{})
	if err != nil || len(all.Topics) != 2 {
		t.Errorf("%d topics without a choice, error %v", len(all.Topics), err)
	}
}

func TestNew_ReadsNoFileOfAPartThatIsOff(t *testing.T) {
	t.Parallel()
	cfg := configFor("127.0.0.1:1")
	cfg.TLS.CAFile = filepath.Join(t.TempDir(), "missing")
	c, err := kafka.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
