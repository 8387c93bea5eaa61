package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/setting"
	"github.com/contactsync/contactsync/metrics"
	"github.com/contactsync/contactsync/upstream"
)

// Finding is a problem outside of the settings file.
type Finding struct {
	Fatal bool // the service would not work; otherwise it is a warning
	setting.Error
}

// CheckConnect checks everything that the settings point to: the brokers and their
// versions, the rights on topics and group, the topics' settings, and each host of the API
// with each of its credentials. It asks for one contact with them, and so uses up a call of each
// budget; a stream may be given for credentials whose settings name none. It changes nothing.
func CheckConnect(ctx context.Context, cfg config.Config, stream string, log *slog.Logger) []Finding {
	var found []Finding
	add := func(fatal bool, under string, errs ...setting.Error) {
		for _, e := range errs {
			e.Key = under + e.Key
			found = append(found, Finding{fatal, e})
		}
	}
	m := metrics.New(prometheus.NewRegistry())
	if client, err := upstream.New(cfg.Upstream, upstream.Deps{Log: log, Metrics: &m.Upstream, Version: "check"}); err != nil {
		add(true, "", setting.Error{Key: "upstream", Problem: err.Error()})
	} else {
		faults, notes := client.Probe(ctx, stream)
		add(true, "upstream.", faults...)
		add(false, "upstream.", notes...)
		client.Close()
	}
	conn, err := kafka.New(cfg.Kafka, log)
	if err != nil {
		add(true, "", setting.Error{Key: "kafka", Problem: err.Error()})
		return found
	}
	defer conn.Close()
	if err := conn.CheckVersions(ctx); err != nil {
		add(true, "", kafka.Explain(ctx, conn, err))
		return found // topics cannot be described without brokers
	}
	topics, err := conn.DescribeTopics(ctx, append([]string{cfg.DeadLetter.Topic}, cfg.Consumer.TopicNames()...)...)
	if err != nil {
		add(true, "", kafka.Explain(ctx, conn, err))
		return found
	}
	for _, t := range topics {
		found = append(found, checkTopic(cfg, t)...)
	}
	missing, notes := kafka.CheckRights(ctx, conn, needs(cfg))
	add(true, "", missing...)
	add(false, "", notes...)
	return found
}

// needs returns what the service has to be allowed. Whoever may read the group may commit
// its offsets, and whoever may read a topic may commit those of it.
func needs(cfg config.Config) []kafka.Need {
	all := []kafka.Need{
		{Key: "consumer.group", Group: cfg.Consumer.Group, Read: true},
		{Key: "deadletter.topic", Topic: cfg.DeadLetter.Topic, Write: true},
	}
	for _, topic := range cfg.Consumer.Topics {
		all = append(all, kafka.Need{Key: "consumer.topics", Topic: topic, Read: true})
	}
	if topic := cfg.Consumer.ProgressTopic; topic != "" {
		all = append(all, kafka.Need{Key: "consumer.progress_topic", Topic: topic, Read: true, Write: true})
	}
	return all
}

// checkTopic compares a topic with what the service needs.
func checkTopic(cfg config.Config, t kafka.Topic) []Finding {
	dead, progress := t.Name == cfg.DeadLetter.Topic, t.Name == cfg.Consumer.ProgressTopic
	key := "consumer.topics"
	switch {
	case dead:
		key = "deadletter.topic"
	case progress:
		key = "consumer.progress_topic"
	}
	var found []Finding
	add := func(fatal bool, format string, args ...any) {
		found = append(found, Finding{fatal, setting.Error{Key: key, Problem: fmt.Sprintf("topic %q ", t.Name) + fmt.Sprintf(format, args...)}})
	}
	if errors.Is(t.Err, kafka.ErrDenied) {
		return nil // what to grant is told with the rights
	}
	if problem := topicProblem(t.Err); problem != "" {
		add(true, "%s", problem)
		return found
	}
	if t.ConfigErr != nil {
		add(false, "does not show its settings, so they were not checked: %v", t.ConfigErr)
		return found
	}
	compact := strings.Contains(t.CleanupPolicy, "compact")
	switch {
	case progress && t.CleanupPolicy != "compact":
		add(false, "has cleanup.policy %s: progress that is deleted before it is read is done again; set compact", t.CleanupPolicy)
	case progress:
	case dead && compact:
		add(true, "has cleanup.policy %s: compaction would drop dead letters that share a key", t.CleanupPolicy)
	case compact:
		add(false, "has cleanup.policy %s: events that compaction removes before they are read are never sent; the newest of each key stays", t.CleanupPolicy)
	}
	if dead && t.MaxMessageBytes > 0 && t.MaxMessageBytes < cfg.Event.MaxEventBytes+64<<10 {
		add(false, "takes messages up to %v, less than event.max_event_bytes (%v) and headers: larger dead letters are cut to an envelope", t.MaxMessageBytes, cfg.Event.MaxEventBytes)
	}
	if dead && t.Replicas > 1 && t.MinInsyncReplicas < 2 {
		add(false, "has min.insync.replicas %d: a dead letter counts as written once a single broker has it", t.MinInsyncReplicas)
	}
	return found
}

// topicProblem returns why a topic cannot be used at all, or the empty string.
func topicProblem(err error) string {
	switch {
	case errors.Is(err, kafka.ErrNoTopic):
		return "does not exist: create it, or correct the name; the service never creates one"
	case err != nil:
		return fmt.Sprintf("cannot be described: %v", err)
	}
	return ""
}

// Fatal reports whether the service would not work.
func Fatal(found []Finding) bool {
	return slices.ContainsFunc(found, func(f Finding) bool { return f.Fatal })
}

// ExplainStream says which account and credentials take a stream, and why.
func ExplainStream(cfg config.Config, stream string) []string {
	return upstream.NewRouter(cfg.Upstream.Accounts).Explain(stream)
}

// Summary describes what is sent where, one line per account, so that an operator can
// compare it with what was intended.
func Summary(cfg config.Config) []string {
	var lines []string
	for _, a := range cfg.Upstream.Accounts {
		budget := "no limit"
		if n := a.Budget.Requests; n != nil && *n > 0 {
			budget = fmt.Sprintf("%d requests in %v (%s)", *n, a.Budget.Window, a.Budget.Share)
		}
		lines = append(lines, fmt.Sprintf("account %s: streams %s to %s, %s", a.ID, strings.Join(a.Streams, ", "), a.Host, budget))
		for _, app := range a.Apps {
			lines = append(lines, fmt.Sprintf("  app %s signs for %s", app.Name, strings.Join(app.Streams, ", ")))
		}
	}
	return append(lines, fmt.Sprintf("requests of at most %d contacts and %v, after %v at the latest; window %v",
		cfg.Batcher.MaxRows, setting.Size(cfg.Batcher.MaxBytes), cfg.Batcher.Linger, setting.Size(cfg.Batcher.WindowBytes)))
}
