// Package nearby finds what somebody may have meant who has misspelt a name.
//
//	nearby.Of("docker.oi", "docker.io", "ghcr.io") // docker.io
package nearby

const (
	// maxWord bounds a word that is compared, in bytes: a host has at most 253, and the
	// time is the product of two lengths.
	maxWord = 255
	// short words have neighbours that are words of their own: up to this length, in
	// bytes, one edit counts as near, and beyond it two.
	short = 7
	// none is up to which length, in bytes, no other word is near.
	none = 2
)

// Of returns the candidate that is nearest to word, or an empty string if none is near.
// Of several that are as near it is the first. The word itself is not near.
func Of(word string, candidates ...string) string {
	limit := 2
	switch {
	case len(word) <= none || len(word) > maxWord:
		return ""
	case len(word) <= short:
		limit = 1
	}
	best := ""
	for _, candidate := range candidates {
		if candidate == word || len(candidate) > maxWord || len(candidate) <= none {
			continue
		}
		if d := Edits(word, candidate, limit); d <= limit {
			best, limit = candidate, d-1
		}
	}
	return best
}

// Edits returns how many edits make b of a, or most+1 if they are more. An edit adds,
// removes or replaces a byte, or swaps two neighbours.
func Edits(a, b string, most int) int {
	if len(a)-len(b) > most || len(b)-len(a) > most {
		return most + 1
	}
	// Three rows of the table of distances between prefixes.
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := last[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			row[j] = min(last[j]+1, row[j-1]+1, replaced)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], most+1)
}
