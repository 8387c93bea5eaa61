package kafka

import (
	"context"
	"os/exec"
	"path/filepath"
)

// Java returns a command that runs a Java source file with Kafka's own client. It
// needs a JDK, where the cluster itself needs only a runtime. Not for named brokers.
func (c *Cluster) Java(ctx context.Context, source string, args ...string) (*exec.Cmd, error) {
	if !c.Owned() {
		return nil, ErrNotOwned
	}
	all := append([]string{"-Xmx128m", "-cp", filepath.Join(c.libs, "*"), source}, args...)
	return exec.CommandContext(ctx, c.java, all...), nil
}
