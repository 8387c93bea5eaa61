package consumer

import (
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/lab/authority"
	"github.com/contactsync/contactsync/metrics"
)

// The gauge from which an alert fires is that of the files that connections to Kafka are made with,
// and there is none without such files: it would fire at once.
func TestGeneration_ShowsWhenTheCertificatesOfKafkaEnd(t *testing.T) {
	t.Parallel()
	ca, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(ca.PEM)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, ca.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, enabled := range map[string]bool{"with TLS": true, "without": false} {
		cfg := kafka.DefaultConfig()
		cfg.Brokers = []string{"127.0.0.1:1"}
		cfg.TLS.Enabled, cfg.TLS.CAFile = enabled, file
		client, err := kafka.New(cfg, slog.New(slog.DiscardHandler), "contacts")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		m := &metrics.New(prometheus.NewRegistry()).Consumer
		(&generation{c: &Consumer{deps: Deps{Kafka: client, Metrics: m}}}).observe()
		if !enabled {
			if n := testutil.CollectAndCount(m.CertificateExpiry); n != 0 {
				t.Errorf("%s: %d gauges", name, n)
			}
		} else if got := testutil.ToFloat64(m.CertificateExpiry); got != float64(cert.NotAfter.Unix()) {
			t.Errorf("%s: the gauge is %v, want %v", name, got, cert.NotAfter.Unix())
		}
	}
}
