package config

import (
	"fmt"
	"slices"
	"strings"
)

// didYouMean is the end of a message: the known word that a person most likely meant, or else what is known at all.
func didYouMean(word string, known []string) string {
	if best := closest(word, known); best != "" {
		return fmt.Sprintf(" (did you mean %q?)", best)
	}
	if len(known) == 0 {
		return ""
	}
	return " (known: " + strings.Join(known, ", ") + ")"
}

// closest returns the known word nearest to the given one, the first of equals, and none where more than a quarter of the
// letters would have to change, unless one word begins the other (warning, warn). Case, hyphens and underscores do
// not count: maxBytes is max_bytes.
func closest(word string, known []string) string {
	w := fold(word)
	if len(w) == 0 || len(w) > 64 {
		return ""
	}
	best, limit := "", max(1, len(w)/4)+1
	for _, k := range known {
		f := fold(k)
		n := distance(w, f)
		if short := min(len(w), len(f)); short >= 4 && slices.Equal(w[:short], f[:short]) {
			n = 1
		}
		if n < limit {
			best, limit = k, n
		}
	}
	return best
}

func fold(s string) []rune {
	return []rune(strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(s)))
}

// distance is the number of letters to insert, delete, change or swap with their neighbour (optimal string alignment).
func distance(a, b []rune) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
