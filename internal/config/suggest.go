package config

import "strings"

// minHint is how many letters must be right before a longer name is guessed from them.
const minHint = 3

// suggest returns the name among the candidates that a typing mistake would
// most likely turn into the given one, or one that goes on from it, or nothing.
// Up to a third of the letters may differ; beyond that a hint would mislead.
func suggest(given string, candidates []string) string {
	given = strings.ToLower(given)
	best, least := "", min(len(given), 60)/3+1
	for _, c := range candidates {
		if d := distance(given, strings.ToLower(c), least); d < least {
			best, least = c, d
		}
	}
	for _, c := range candidates {
		if best == "" && len(given) >= minHint && strings.HasPrefix(strings.ToLower(c), given) {
			best = c
		}
	}
	return best
}

// distance counts the letters to insert, delete or replace between two words.
// It gives up and returns limit where the lengths alone differ by as much.
func distance(a, b string, limit int) int {
	if max(len(a)-len(b), len(b)-len(a)) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(row[j+1]+1, row[j]+1, cost)
		}
	}
	return row[len(b)]
}
