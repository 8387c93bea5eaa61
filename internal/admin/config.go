package admin

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/contactsync/contactsync/internal/keyfile"
	"github.com/contactsync/contactsync/internal/setting"
)

// Config is the admin section of the settings.
type Config struct {
	// Listen is the address of all pages as host:port. An empty host listens on every
	// interface; port 0 selects a free one.
	Listen string `yaml:"listen"`
	// ProbeListen is a second address for /livez and /readyz alone, without TLS and users.
	// Kubernetes' probes have no password, and nobody who occupies the other port keeps
	// them from their answer. Empty: there is none.
	ProbeListen string `yaml:"probe_listen"`
	// WebConfigFile is a file with the TLS certificate and the users of listen, in the form
	// of Prometheus' exporters (exporter-toolkit's web configuration). It is read again for
	// each connection and request. Empty: neither TLS nor users.
	WebConfigFile string `yaml:"web_config_file"`
	// Pprof offers profiles of the process at /debug/pprof. A profile of the memory may
	// show what the process holds.
	Pprof bool `yaml:"pprof"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config { return Config{Listen: "127.0.0.1:8080"} }

// Validate returns the errors, with keys below admin.
func (c Config) Validate() []setting.Error {
	var errs setting.Errors
	if !address(c.Listen) {
		errs.Add("listen", "%q is not an address: write host:port, like 127.0.0.1:8080 or :8080", c.Listen)
	}
	if c.ProbeListen != "" && !address(c.ProbeListen) {
		errs.Add("probe_listen", "%q is not an address: write host:port, like 127.0.0.1:8081 or :8081", c.ProbeListen)
	}
	if _, port, _ := net.SplitHostPort(c.Listen); c.ProbeListen == c.Listen && port != "0" {
		errs.Add("probe_listen", "%q is the address of admin.listen: choose another port", c.ProbeListen)
	}
	return errs
}

// CheckFiles returns everything that is wrong with the files that the settings name.
func (c Config) CheckFiles() []setting.Error {
	err := c.checkWebConfig()
	if err == nil {
		return nil
	}
	return []setting.Error{{Key: "web_config_file", Problem: err.Error()}}
}

func (c Config) checkWebConfig() error {
	file, err := c.webConfig()
	if err != nil {
		return err
	}
	// The library reads files without looking what they are: a pipe would have it wait for ever.
	dir := filepath.Dir(c.WebConfigFile)
	file.TLS.SetDirectory(dir)
	for _, name := range []string{file.TLS.TLSCertPath, file.TLS.TLSKeyPath, file.TLS.ClientCAs} {
		if name == "" {
			continue
		}
		if _, err := keyfile.Read(name); err != nil {
			return err
		}
	}
	if name := file.TLS.TLSKeyPath; name != "" {
		if _, err := keyfile.PrivateKey(name); err != nil {
			return err
		}
	}
	if err := web.Validate(c.WebConfigFile); err != nil {
		return fmt.Errorf("%s: %s", c.WebConfigFile, withoutContent(err.Error()))
	}
	return nil
}

// quoting are the errors of the YAML libraries: what they say after the line quotes the file.
var quoting = regexp.MustCompile(`(?s)(?:\[(\d+):\d+\]|yaml: (?:unmarshal errors:\s*)?(?:line (\d+))?).*`)

// withoutContent is what an error says about the file without what it quotes of it: passwords
// and their hashes stand there.
func withoutContent(text string) string {
	return quoting.ReplaceAllStringFunc(text, func(quotes string) string {
		where := "a line"
		if line := quoting.FindStringSubmatch(quotes); line[1]+line[2] != "" {
			where = "line " + line[1] + line[2]
		}
		return where + " is not in the form of exporter-toolkit's web configuration"
	})
}

// Encrypted reports whether the pages are served with TLS.
func (c Config) Encrypted() (bool, error) {
	file, err := c.webConfig()
	if err != nil {
		return false, fmt.Errorf("admin.web_config_file: %w", err)
	}
	return file.TLS.IsEnabled(), nil
}

// webConfig is what matters here of the file.
type webConfig struct {
	TLS   web.TLSConfig     `yaml:"tls_server_config"`
	Users map[string]string `yaml:"basic_auth_users"` // and the hashes of their passwords
}

func (c Config) webConfig() (file webConfig, err error) {
	if c.WebConfigFile == "" {
		return file, nil
	}
	text, err := keyfile.Read(c.WebConfigFile)
	if err != nil {
		return file, err
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return file, fmt.Errorf("%s: %s", c.WebConfigFile, withoutContent(err.Error()))
	}
	return file, nil
}

func address(text string) bool {
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	return err == nil
}
