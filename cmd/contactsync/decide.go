package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/keyfile"
)

// decisionTimeout bounds the answer of a replica, which only notes the decision.
const decisionTimeout = 10 * time.Second

// maxAnswer bounds what is read of it.
const maxAnswer = 64 << 20

// replica is the one that a command is about, as its flags say.
type replica struct{ file, address, client string }

func (r *replica) flags(cmd *cobra.Command) {
	r.ways(cmd)
	cmd.Flags().StringVar(&r.address, "admin", "", "the replica's admin port as host:port, or as https://host:port; admin.listen of the settings where it is empty")
}

// ways are the flags that say how it is reached, wherever it is.
func (r *replica) ways(cmd *cobra.Command) {
	configFlag(cmd, &r.file)
	cmd.Flags().StringVar(&r.client, "admin-client", "", "file with user and TLS for an admin port that asks for them, in the form of Prometheus' http_config")
}

// url returns where the replica is.
func (r *replica) url(environ []string, stderr io.Writer) (*url.URL, error) {
	scheme, address, named := strings.Cut(r.address, "://")
	if !named {
		scheme, address = "http", r.address
	}
	if r.address == "" {
		cfg, err := load(r.file, environ, stderr)
		if err != nil {
			if r.file == "" {
				fmt.Fprintln(stderr, "contactsync: or name the replica: --admin HOST:PORT")
			}
			return nil, err
		}
		encrypted, err := cfg.Admin.Encrypted()
		if err != nil {
			return nil, err
		}
		if address = cfg.Admin.Listen; encrypted {
			scheme = "https"
		}
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || scheme != "http" && scheme != "https" || strings.ContainsAny(port, "/?#") {
		return nil, usage("--admin %q is neither host:port nor https://host:port", r.address)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() { // it listens everywhere
		host = "127.0.0.1"
	}
	return &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port)}, nil
}

// http returns a client that has what the replica asks for.
func (r *replica) http() (*http.Client, error) {
	cfg := &promconfig.DefaultHTTPClientConfig
	if r.client != "" {
		var err error
		if cfg, err = clientConfig(r.client); err != nil {
			return nil, fmt.Errorf("read --admin-client: %w", err)
		}
	}
	client, err := promconfig.NewClientFromConfig(*cfg, "contactsync")
	if err != nil {
		return nil, fmt.Errorf("use --admin-client %s: %w", r.client, err)
	}
	client.Timeout = decisionTimeout
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // no replica sends one
	return client, nil
}

// yamlLines are those that an error of the YAML library is about.
var yamlLines = regexp.MustCompile(`(?m)^\s*(?:yaml: )?line (\d{1,6}):`)

// clientConfig reads the file of --admin-client. Nothing of it is quoted, since passwords are in it.
func clientConfig(name string) (*promconfig.HTTPClientConfig, error) {
	text, err := keyfile.Read(name)
	if err != nil {
		return nil, err
	}
	cfg, err := promconfig.LoadHTTPConfig(string(text))
	if err != nil {
		where := []string{name}
		for _, line := range yamlLines.FindAllStringSubmatch(err.Error(), -1) {
			where = append(where, "line "+line[1])
		}
		return nil, fmt.Errorf("%s: not in the form of Prometheus' http_config: tls_config, basic_auth, authorization", strings.Join(where, ", "))
	}
	cfg.SetDirectory(filepath.Dir(name))
	named := []string{cfg.TLSConfig.CAFile, cfg.TLSConfig.CertFile, cfg.TLSConfig.KeyFile}
	if cfg.BasicAuth != nil {
		named = append(named, cfg.BasicAuth.UsernameFile, cfg.BasicAuth.PasswordFile)
	}
	if cfg.Authorization != nil {
		named = append(named, cfg.Authorization.CredentialsFile)
	}
	for _, file := range named {
		if file == "" {
			continue
		}
		if _, err := keyfile.Read(file); err != nil {
			return nil, fmt.Errorf("a file that %s names: %w", name, err)
		}
	}
	return cfg, nil
}

// about adds a partition to the values of a decision.
func about(p contactsync.TopicPartition, values url.Values) url.Values {
	values.Set("topic", p.Topic)
	values.Set("partition", strconv.Itoa(int(p.Partition)))
	return values
}

// decide has the replica take an operator's decision.
func (r *replica) decide(cmd *cobra.Command, environ []string, path string, values url.Values) error {
	_, err := r.ask(cmd, environ, http.MethodPost, path, values, http.StatusAccepted)
	return err
}

// ask returns the replica's answer, which must have the status.
func (r *replica) ask(cmd *cobra.Command, environ []string, method, path string, values url.Values, status int) ([]byte, error) {
	target, err := r.url(environ, cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	client, err := r.http()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	target.Path, target.RawQuery = path, values.Encode()
	req, err := http.NewRequestWithContext(cmd.Context(), method, target.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the replica: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != status {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // what came of it is shown
		if res.StatusCode == http.StatusUnauthorized {
			text = []byte("name a file with its user by --admin-client")
		}
		return nil, fmt.Errorf("the replica at %s refuses (%s): %s", target.Host, res.Status, clean(strings.TrimSpace(string(text))))
	}
	text, err := io.ReadAll(http.MaxBytesReader(nil, res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the replica's answer: %w", err)
	}
	return text, nil
}
