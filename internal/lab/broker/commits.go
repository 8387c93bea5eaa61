package broker

import "github.com/twmb/franz-go/pkg/kmsg"

// RefuseCommits has every commit of offsets refused with an error code of Kafka from now on.
func (b *Broker) RefuseCommits(code int16) {
	b.Cluster.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster.KeepControl()
		return RefusedCommit(req, code), nil, true
	})
}

// RefusedCommit is the answer to a commit of offsets that refuses each of them.
func RefusedCommit(req kmsg.Request, code int16) kmsg.Response {
	res := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	for _, topic := range req.(*kmsg.OffsetCommitRequest).Topics {
		answer := kmsg.NewOffsetCommitResponseTopic()
		answer.Topic, answer.TopicID = topic.Topic, topic.TopicID
		for _, p := range topic.Partitions {
			part := kmsg.NewOffsetCommitResponseTopicPartition()
			part.Partition, part.ErrorCode = p.Partition, code
			answer.Partitions = append(answer.Partitions, part)
		}
		res.Topics = append(res.Topics, answer)
	}
	return res
}
