package contactsync

import "testing"

func TestCommands_ShowDeadLetter(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ topic, settings, want string }{
		{"contacts", "", "contactsync dlq show contacts/2@3489"},
		{"crm.contacts-v1_a", "/etc/contactsync/contactsync.yaml", "contactsync dlq show crm.contacts-v1_a/2@3489 --config /etc/contactsync/contactsync.yaml"},
		{"contacts", "/home/my settings/it's.yaml", `contactsync dlq show contacts/2@3489 --config '/home/my settings/it'\''s.yaml'`},
		{"a;rm b", "$(x)", "contactsync dlq show 'a;rm b/2@3489' --config '$(x)'"}, // in a letter that somebody else wrote
		{"a\nb\x1b'", "", `contactsync dlq show $'a\nb\x1b\'/2@3489'`},
	} {
		p := Position{TopicPartition{test.topic, 2}, 3489}
		if got := (Commands{test.settings}).ShowDeadLetter(p); got != test.want {
			t.Errorf("%s, %s: %s", test.topic, test.settings, got)
		}
	}
}
