package group

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"github.com/contactsync/contactsync"
)

// userDataClaims are what the members of the sticky protocol owned before.
func userDataClaims(members []groupMember) map[string]claims {
	by := map[string]claims{}
	for _, m := range members {
		by[m.id] = readClaims(m.userData)
	}
	return by
}

// ownedClaims are what the members of the cooperative protocol go on owning while
// they join. Before version 2 of the subscription the generation is in the user data.
func ownedClaims(members []groupMember) map[string]claims {
	by := map[string]claims{}
	for _, m := range members {
		c := claims{owned: m.owned, generation: m.generation}
		if c.generation < 0 && len(m.userData) == 4 {
			c.generation = int32(binary.BigEndian.Uint32(m.userData))
		}
		by[m.id] = c
	}
	return by
}

// owners returns for each claimed partition the member that claims it in the
// newest generation, and "" where two members claim it in the same one.
func owners(by map[string]claims) map[contactsync.TopicPartition]string {
	type claim struct {
		member     string
		generation int32
	}
	newest := map[contactsync.TopicPartition]claim{}
	for _, id := range slices.Sorted(maps.Keys(by)) {
		c := by[id]
		for _, p := range c.owned {
			old, claimed := newest[p]
			switch {
			case !claimed || c.generation > old.generation:
				newest[p] = claim{id, c.generation}
			case c.generation == old.generation:
				newest[p] = claim{"", c.generation}
			}
		}
	}
	owner := map[contactsync.TopicPartition]string{}
	for p, c := range newest {
		owner[p] = c.member
	}
	return owner
}

// assignSticky leaves partitions with their owners as far as every member then has
// as many as any other that could take them, or one less.
func assignSticky(members []groupMember, by map[string]claims, partitions map[string]int) assignment {
	owner := owners(by)
	takers := subscribers(members, partitions)
	// Topics with few subscribers come first: their partitions have the least choice.
	topics := slices.SortedFunc(maps.Keys(takers), func(a, b string) int {
		return cmp.Or(len(takers[a])-len(takers[b]), strings.Compare(a, b))
	})
	counts := map[string]int{}
	held := map[string]map[string][]int32{} // by topic and member
	var free []contactsync.TopicPartition
	for _, t := range topics {
		held[t] = map[string][]int32{}
		for i := range int32(partitions[t]) {
			p := contactsync.TopicPartition{Topic: t, Partition: i}
			if id := owner[p]; id != "" && slices.Contains(takers[t], id) {
				held[t][id] = append(held[t][id], i)
				counts[id]++
				continue
			}
			free = append(free, p)
		}
	}
	least := func(ids []string) string {
		return slices.MinFunc(ids, func(a, b string) int { return counts[a] - counts[b] })
	}
	for _, p := range free {
		id := least(takers[p.Topic])
		held[p.Topic][id] = append(held[p.Topic][id], p.Partition)
		counts[id]++
	}
	// Every move makes the sum of the squares of the counts smaller, so this ends.
	for moved := true; moved; {
		moved = false
		for _, t := range topics {
			for {
				from, to := fullest(takers[t], held[t], counts), least(takers[t])
				if from == "" || counts[from] < counts[to]+2 {
					break
				}
				parts := held[t][from]
				held[t][to] = append(held[t][to], parts[len(parts)-1])
				held[t][from] = parts[:len(parts)-1]
				counts[from]--
				counts[to]++
				moved = true
			}
		}
	}
	a := empty(members)
	for t, by := range held {
		for id, parts := range by {
			for _, p := range parts {
				a[id] = append(a[id], contactsync.TopicPartition{Topic: t, Partition: p})
			}
		}
	}
	for _, parts := range a {
		sortPartitions(parts)
	}
	return a
}

// fullest returns the member with the most partitions of those that have one of
// this topic.
func fullest(ids []string, held map[string][]int32, counts map[string]int) string {
	most := ""
	for _, id := range ids {
		if len(held[id]) > 0 && (most == "" || counts[id] > counts[most]) {
			most = id
		}
	}
	return most
}

// withholdMoving takes out what another member still claims. That one sees it
// missing, gives it back and joins again; the assignment after that gives it away.
func withholdMoving(members []groupMember, a assignment) assignment {
	by := ownedClaims(members)
	owner := owners(by)
	for id, parts := range a {
		a[id] = slices.DeleteFunc(parts, func(p contactsync.TopicPartition) bool {
			of, claimed := owner[p]
			return claimed && of != id
		})
	}
	return a
}
