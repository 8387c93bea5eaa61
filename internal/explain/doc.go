// Package explain puts together what is known of one contact: what replicas of the service
// remember, and what the topics hold. A Story has positions, versions, times and what was
// answered, and nothing of the contact but its id.
package explain
