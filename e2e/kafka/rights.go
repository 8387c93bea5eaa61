package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Resource is something that a user needs rights on: a topic or a consumer group.
type Resource struct {
	Name  string
	Group bool // a consumer group, not a topic
}

// Right is what a user may do.
type Right = kadm.ACLOperation

// The rights that a consumer needs.
const (
	Read     = kadm.OpRead // includes Describe
	Write    = kadm.OpWrite
	Describe = kadm.OpDescribe
)

// Allow gives a user rights on something. A broker may take a moment to know of them.
func (c *Cluster) Allow(ctx context.Context, user string, on Resource, rights ...Right) error {
	made, err := c.admin.CreateACLs(ctx, rules(on, rights).Allow("User:"+user).AllowHosts("*"))
	for _, m := range made {
		if err == nil {
			err = m.Err
		}
	}
	if err != nil {
		return fmt.Errorf("giving %s rights on %s: %w", user, on.Name, err)
	}
	return nil
}

// Withdraw takes rights of a user on something back.
func (c *Cluster) Withdraw(ctx context.Context, user string, on Resource, rights ...Right) error {
	found, err := c.admin.DeleteACLs(ctx, rules(on, rights).Allow("User:"+user).AllowHosts("*").DenyHosts())
	n := 0
	for _, f := range found {
		n += len(f.Deleted)
		if err == nil {
			err = f.Err
		}
	}
	if err == nil && n != len(rights) {
		err = fmt.Errorf("%d were there, %d named", n, len(rights))
	}
	if err != nil {
		return fmt.Errorf("taking rights of %s on %s back: %w", user, on.Name, err)
	}
	return nil
}

func rules(on Resource, rights []Right) *kadm.ACLBuilder {
	b := kadm.NewACLs().ResourcePatternType(kadm.ACLPatternLiteral).Operations(rights...)
	if on.Group {
		return b.Groups(on.Name)
	}
	return b.Topics(on.Name)
}
