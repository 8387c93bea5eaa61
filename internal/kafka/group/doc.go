// Package group is the membership of a classic Kafka consumer group. It promises:
//
//   - every error code is seen, and answered as Kafka's own consumer does where
//     nothing is said about it here; those of an earlier generation change nothing;
//   - a member that may not be one any more has no lease: it is counted from the
//     sending of what a coordinator has validated, and once it has ended the member
//     joins again;
//   - an assignment ends in order (Release: the owner finishes, commits and says so,
//     and the membership goes on meanwhile) or is lost (Lost: nothing is sent or
//     committed any more);
//   - a broker that is frozen, gone or talks nonsense costs one try, never the
//     process: counts are checked before memory is taken;
//   - other clients lead and are led: subscriptions and assignments are read and
//     written as Java, librdkafka and franz-go do it;
//   - a static member comes back within its session without a rebalance, and two
//     processes with one instance id do not fence each other in turn.
//
// Member decides, as a plain value; Group is the loop around it. How frames get to
// a broker is the Exchanger's business.
package group
