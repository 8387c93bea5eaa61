package explain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/progress"
	"github.com/contactsync/contactsync/upstream"
)

// Looked is what was read of a topic.
type Looked struct {
	Topic          string `json:"topic"`
	Error          string `json:"error,omitzero"` // why it, or the rest of it, was not read
	Partitions     int    `json:"partitions"`
	PartitionsRead int    `json:"partitions_read"`
	Offsets        int64  `json:"offsets"`      // in all partitions
	OffsetsRead    int64  `json:"offsets_read"` // the last ones of those that were read
	Records        int    `json:"records"`      // that were there
	// Unreadable are records that cannot be assigned to a contact.
	Unreadable int       `json:"unreadable,omitzero"`
	Oldest     time.Time `json:"oldest,omitzero"` // Kafka's time of the oldest record that was read
}

// Bounds are how much of the topics is read. The newest records count.
type Bounds struct {
	Records int64     // of each topic; 0 for no bound
	Since   time.Time // and none that is older; zero for no bound
	Events  int       // of the contact that are kept, in each partition
	// Key is of the records of the contact. Then only the partition is read that such a
	// record goes to; without it all are.
	Key string
}

// Topics reads what Kafka has of contacts. It joins no group and commits nothing.
type Topics struct {
	cfg     config.Config
	kafka   *kafka.Client
	decoder *event.Decoder
}

// Open checks the settings of Kafka. It connects with the first question.
func Open(cfg config.Config, log *slog.Logger) (*Topics, error) {
	names := append(slices.Clone(cfg.Consumer.Topics), cfg.DeadLetter.Topic)
	if cfg.Consumer.ProgressTopic != "" {
		names = append(names, cfg.Consumer.ProgressTopic)
	}
	client, err := kafka.New(cfg.Kafka, log, names...)
	if err != nil {
		return nil, err
	}
	client.LimitBatches(cfg.Consumer.MaxBatchBytes)
	decoder, err := event.NewDecoder(cfg.Event, upstream.NewRouter(cfg.Upstream.Accounts).Route)
	if err != nil {
		client.Close()
		return nil, err
	}
	return &Topics{cfg, client, decoder}, nil
}

// Close closes the connections to Kafka.
func (t *Topics) Close() { t.kafka.Close() }

// Tell adds to a story what the topics have of its contact: its events, its dead letters, and
// what is committed. What cannot be read is told in the story; the error is for all of it.
func (t *Topics) Tell(ctx context.Context, s *Story, within Bounds) error {
	if err := t.kafka.CheckVersions(ctx); err != nil {
		return err
	}
	counts := map[string]int{}
	for _, topic := range t.cfg.Consumer.Topics {
		looked := Looked{Topic: topic}
		if err := t.read(ctx, s, within, &looked); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			looked.Error = problem(err)
		}
		if looked.Partitions > 0 {
			counts[topic] = looked.Partitions
		}
		s.Topics = append(s.Topics, looked)
	}
	if err := t.deadLetters(ctx, s); err != nil {
		return err
	}
	s.sort()
	commits, err := t.commits(ctx, s, counts)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.CommitError = problem(err)
	}
	s.judge(commits)
	return nil
}

// problem is why a topic cannot be read.
func problem(err error) string {
	if errors.Is(err, kafka.ErrNoTopic) {
		return "it does not exist, or may not be described"
	}
	return err.Error()
}

// read adds the events that a topic has of the contact. What makes one partition unreadable keeps
// no other one from being read.
func (t *Topics) read(ctx context.Context, s *Story, within Bounds, looked *Looked) error {
	if err := t.exists(ctx, looked.Topic); err != nil {
		return err
	}
	bounds, err := t.kafka.StableBounds(ctx, looked.Topic)
	if err != nil {
		return err
	}
	looked.Partitions = len(bounds)
	var since []int64
	if !within.Since.IsZero() {
		if since, err = t.kafka.OffsetsAt(ctx, looked.Topic, within.Since); err != nil {
			return err
		}
	}
	only, share := int32(-1), max(1, within.Records/int64(len(bounds)))
	if within.Key != "" {
		only, share = kafka.PartitionOf([]byte(within.Key), len(bounds)), within.Records
	}
	var failed []error
	for p, b := range bounds {
		looked.Offsets += b.End - b.First
		from := b.First
		if within.Records > 0 {
			from = max(from, b.End-share)
		}
		if p < len(since) {
			from = max(from, since[p])
			if since[p] < 0 { // nothing is so young
				from = b.End
			}
		}
		if only >= 0 && only != int32(p) {
			continue
		}
		r := &reading{decoder: t.decoder, story: s, looked: looked, most: within.Events}
		if _, err := t.kafka.Read(ctx, contactsync.TopicPartition{Topic: looked.Topic, Partition: int32(p)}, from, b.End, r.record); err != nil {
			failed = append(failed, err)
		} else {
			looked.PartitionsRead++
			looked.OffsetsRead += b.End - from
		}
		r.end()
	}
	return errors.Join(failed...)
}

// exists asks for a topic once: what reads it waits for one to appear.
func (t *Topics) exists(ctx context.Context, topic string) error {
	described, err := t.kafka.DescribeTopics(ctx, topic)
	if err != nil {
		return err
	}
	return described[0].Err
}

// reading is one partition as it is read.
type reading struct {
	decoder *event.Decoder
	story   *Story
	looked  *Looked
	most    int
	found   []Event
}

func (r *reading) record(rec contactsync.Record) {
	r.looked.Records++
	if r.looked.Oldest.IsZero() || rec.Time.Before(r.looked.Oldest) {
		r.looked.Oldest = rec.Time
	}
	ev := r.decoder.Decode(rec)
	switch c := &ev.Contact; {
	case ev.Kind == event.Broken && (c.Stream == "" || c.ID == ""):
		r.looked.Unreadable++
		return
	case contactsync.FoldID(c.ID) != contactsync.FoldID(r.story.Contact):
		return
	case c.Stream != r.story.Stream && (c.Stream != "" || ev.Kind != event.Tombstone):
		return
	}
	r.found = append(r.found, eventOf(&ev))
	if len(r.found) > 2*r.most { // and not one at a time
		r.cut()
	}
}

// cut leaves out all but the newest events.
func (r *reading) cut() {
	if left := len(r.found) - r.most; left > 0 {
		r.story.Left += left
		r.found = slices.Delete(r.found, 0, left)
	}
}

// end adds what was found to the story.
func (r *reading) end() {
	r.cut()
	for i := range r.found {
		r.story.read(&r.found[i])
	}
}

// eventOf takes of an event what may be told.
func eventOf(ev *event.Event) Event {
	v := ev.Version()
	e := Event{at: ev.Record.Position, version: &v, kind: ev.Kind, EventStatus: batcher.EventStatus{
		Position: ev.Record.String(), Account: ev.Contact.Account, Kind: ev.Kind.String(), Recorded: ev.Record.Time, OccurredAt: ev.Contact.OccurredAt,
	}}
	if ev.Contact.HasVersion {
		e.Version = new(ev.Contact.Version)
	}
	if ev.Replay != nil {
		e.Origin = ev.Replay.Origin.String()
	}
	return e
}

// deadLetters adds those of the contact.
func (t *Topics) deadLetters(ctx context.Context, s *Story) error {
	topic := t.cfg.DeadLetter.Topic
	s.DeadLetterTopic = &DeadLettersRead{Topic: topic}
	err := t.exists(ctx, topic)
	var found deadletter.Contents
	if err == nil {
		found, err = deadletter.Read(ctx, t.kafka, topic, deadletter.Selection{Streams: []string{s.Stream}, Contacts: []string{s.Contact}}, false)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		s.DeadLetterTopic.Error = problem(err)
		return nil
	}
	s.DeadLetterTopic.DeadLetters = found.All
	for _, e := range found.Entries {
		s.setAside(e)
	}
	return nil
}

// commit is what is committed for a partition.
type commit struct {
	offset int64 // kafka.NoOffset where nothing is
	ahead  *progress.Ahead
}

// commits asks for what is committed for the partitions of topics, and for who owns those that no
// replica of the story does. Those of which it is not known are left out, and told.
func (t *Topics) commits(ctx context.Context, s *Story, counts map[string]int) (map[contactsync.TopicPartition]commit, error) {
	group := t.kafka.NewGroup(t.cfg.Consumer.Membership())
	defer func() { _ = group.Leave(ctx) }() // it was not joined: that closes its connections
	stored, err := kafka.Stored(ctx, group, counts)
	if err != nil {
		return nil, err
	}
	commits := map[contactsync.TopicPartition]commit{}
	for _, c := range stored {
		if !s.concerns(c.TopicPartition) {
			continue
		}
		ahead, err := progress.Parse(c.Metadata, c.Offset, progress.NewLog(c.Cluster, c.TopicID))
		if c.Err != nil || errors.Is(err, progress.OtherLog) || errors.Is(err, progress.OtherCluster) {
			s.CommitError = fmt.Sprintf("of %v: %v", c.TopicPartition, errors.Join(c.Err, err))
			continue
		}
		if err == nil && ahead != nil && ahead.Kept != nil {
			t.extend(ctx, ahead)
		}
		commits[c.TopicPartition] = commit{c.Offset, ahead}
	}
	owners, err := kafka.Owners(ctx, group)
	for _, o := range owners {
		if s.concerns(o.TopicPartition) && s.owner(o.TopicPartition) == nil {
			s.Owners = append(s.Owners, Owner{o.Topic, o.Partition, o.Client, o.Host})
		}
	}
	return commits, err
}

// keptTimeout bounds the reading of what does not fit a commit. Without it, less is known.
const keptTimeout = 5 * time.Second

func (t *Topics) extend(ctx context.Context, ahead *progress.Ahead) {
	topic := t.cfg.Consumer.ProgressTopic
	if topic == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, keptTimeout)
	defer cancel()
	record, err := kafka.NewKeeper(t.kafka, topic).Kept(ctx, ahead.Kept.Partition, ahead.Kept.Offset)
	if err == nil {
		_ = ahead.Extend(record) // what does not fit the commit changes nothing
	}
}
