package kafka

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Version is the version of Apache Kafka that pom.xml names.
const Version = "4.1.0"

//go:embed pom.xml
var pom []byte

// home is the directory that holds Kafka's jars, shared by all runs.
func home() (string, error) {
	if dir := os.Getenv("KAFKA_HOME_DIR"); dir != "" {
		return filepath.Abs(dir)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a directory for Kafka's jars: %w; name one in KAFKA_HOME_DIR", err)
	}
	return filepath.Join(cache, "contactsync", "kafka-"+Version), nil
}

// findJava returns the java program of JAVA_HOME, else the one of the PATH.
func findJava() (string, error) {
	name := "java"
	if dir := os.Getenv("JAVA_HOME"); dir != "" {
		name = filepath.Join(dir, "bin", "java")
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("looking for Java 17 or newer to run Kafka: %w; install it (Debian: apt-get install default-jre-headless) or name brokers in KAFKA_BROKERS", err)
	}
	return path, nil
}

// install makes sure that Kafka's jars are there, and returns their directory.
// Several programs may call it concurrently: one downloads, the others wait for it.
func install(ctx context.Context, log io.Writer) (string, error) {
	dir, err := home()
	if err != nil {
		return "", err
	}
	libs := filepath.Join(dir, "libs")
	if hasJars(libs) {
		return libs, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the directory for Kafka's jars: %w", err)
	}
	unlock, err := lockFile(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if hasJars(libs) { // another program brought them meanwhile
		return libs, nil
	}
	fmt.Fprintf(log, "kafka: bringing the jars of Apache Kafka %s to %s with mvn\n", Version, libs)
	return libs, download(ctx, dir, libs)
}

// hasJars reports whether libs is there for this version; it appears as a whole.
func hasJars(libs string) bool {
	found, err := filepath.Glob(filepath.Join(libs, "kafka_*-"+Version+".jar"))
	return err == nil && len(found) > 0
}

// download copies the jars into a directory beside libs and renames it, so that
// a download that was cut off is never taken for a whole one.
func download(ctx context.Context, dir, libs string) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("looking for Maven to bring Kafka's jars: %w; install it (Debian: apt-get install maven) or name brokers in KAFKA_BROKERS", err)
	}
	work, err := os.MkdirTemp(dir, "download-")
	if err != nil {
		return fmt.Errorf("making a directory for the download: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }() // a leftover in the cache directory does no harm
	project := filepath.Join(work, "pom.xml")
	if err := os.WriteFile(project, pom, 0o644); err != nil {
		return fmt.Errorf("writing Maven's project file: %w", err)
	}
	fresh := filepath.Join(work, "libs")
	cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "-f", project, "dependency:copy-dependencies",
		"-DincludeScope=runtime", "-DoutputDirectory="+fresh)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("bringing Kafka's jars with mvn: %w\n%s", cmp.Or(context.Cause(ctx), err), bytes.TrimSpace(output))
	}
	if err := os.RemoveAll(libs); err != nil {
		return fmt.Errorf("clearing %s: %w", libs, err)
	}
	if err := os.Rename(fresh, libs); err != nil {
		return fmt.Errorf("moving Kafka's jars into place: %w", err)
	}
	return nil
}

// lockFile takes the lock of a file, which the system gives back if this program dies.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of Kafka's jars: %w", err)
	}
	err = poll(ctx, 200*time.Millisecond, "another program brings Kafka's jars", func(context.Context) (bool, error) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { file.Close() }, nil
}
