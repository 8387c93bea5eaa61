package group

import "fmt"

// Code is the error code of an answer. 0 is success.
type Code int16

// The codes that this package reacts to.
const (
	codeOK                   Code = 0
	codeUnknownTopic         Code = 3
	codeRequestTimedOut      Code = 7
	CodeMetadataTooLarge     Code = 12
	codeLoading              Code = 14
	codeNotAvailable         Code = 15
	codeNotCoordinator       Code = 16
	codeIllegalGeneration    Code = 22
	codeInconsistentProtocol Code = 23
	codeInvalidGroup         Code = 24
	codeUnknownMember        Code = 25
	codeSessionTimeout       Code = 26
	codeRebalance            Code = 27
	codeInvalidOffsetSize    Code = 28
	CodeTopicForbidden       Code = 29
	CodeGroupForbidden       Code = 30
	codeUnsupportedVersion   Code = 35
	codeMemberIDRequired     Code = 79
	codeGroupFull            Code = 81
	codeFencedInstance       Code = 82
	codeUnstableOffset       Code = 88
	codeUnknownTopicID       Code = 100
)

var codeNames = map[Code]string{
	-1:                       "UNKNOWN_SERVER_ERROR",
	codeUnknownTopic:         "UNKNOWN_TOPIC_OR_PARTITION",
	codeRequestTimedOut:      "REQUEST_TIMED_OUT",
	CodeMetadataTooLarge:     "OFFSET_METADATA_TOO_LARGE",
	codeLoading:              "COORDINATOR_LOAD_IN_PROGRESS",
	codeNotAvailable:         "COORDINATOR_NOT_AVAILABLE",
	codeNotCoordinator:       "NOT_COORDINATOR",
	codeIllegalGeneration:    "ILLEGAL_GENERATION",
	codeInconsistentProtocol: "INCONSISTENT_GROUP_PROTOCOL",
	codeInvalidGroup:         "INVALID_GROUP_ID",
	codeUnknownMember:        "UNKNOWN_MEMBER_ID",
	codeSessionTimeout:       "INVALID_SESSION_TIMEOUT",
	codeRebalance:            "REBALANCE_IN_PROGRESS",
	codeInvalidOffsetSize:    "INVALID_COMMIT_OFFSET_SIZE",
	CodeTopicForbidden:       "TOPIC_AUTHORIZATION_FAILED",
	CodeGroupForbidden:       "GROUP_AUTHORIZATION_FAILED",
	codeUnsupportedVersion:   "UNSUPPORTED_VERSION",
	codeMemberIDRequired:     "MEMBER_ID_REQUIRED",
	codeGroupFull:            "GROUP_MAX_SIZE_REACHED",
	codeFencedInstance:       "FENCED_INSTANCE_ID",
	codeUnstableOffset:       "UNSTABLE_OFFSET_COMMIT",
	codeUnknownTopicID:       "UNKNOWN_TOPIC_ID",
}

// codeHints say what an operator can do.
var codeHints = map[Code]string{
	codeInconsistentProtocol: "another member of the group shares no way of assigning partitions with this one, or the group is used for something else",
	codeInvalidGroup:         "the group's name is not valid",
	codeSessionTimeout:       "the session time-out lies outside of the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms",
	CodeTopicForbidden:       "this user may not read the topic",
	CodeGroupForbidden:       "this user may not read the group: it needs READ on it",
	codeGroupFull:            "the group has as many members as the brokers' group.max.size allows",
	codeFencedInstance:       "another process has joined with the same instance id",
	CodeMetadataTooLarge:     "the brokers' offset.metadata.max.bytes is smaller than what is committed",
}

// Forbidden reports whether this user lacks a right.
func (c Code) Forbidden() bool { return c == CodeTopicForbidden || c == CodeGroupForbidden }

// Error prints the code's name and number, and what can be done about it.
func (c Code) Error() string {
	name, ok := codeNames[c]
	if !ok {
		name = "error code"
	}
	text := fmt.Sprintf("%s (%d)", name, int16(c))
	if hint := codeHints[c]; hint != "" {
		text += ": " + hint
	}
	return text
}
