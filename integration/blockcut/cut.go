package blockcut

import (
	"math/rand/v2"
	"slices"
)

// Cut returns one of the states in which a machine may find the disk after the power
// failed at a position. The same position can be cut many times, with another outcome
// each.
func (d *Disk) Cut(at int, rng *rand.Rand) *Disk {
	content, unflushed := d.flushed(at)
	// A fair coin would rarely produce losses of one kind.
	switch rng.IntN(4) {
	case 0: // nothing unflushed persisted
	case 1: // everything did
		for _, r := range unflushed {
			r.apply(content)
		}
	case 2: // some requests did not
		for _, r := range unflushed {
			if rng.IntN(8) > 0 {
				r.apply(content)
			}
		}
	default:
		scatter(content, unflushed, rng)
	}
	return newDisk(content)
}

// flushed returns the content that the last flush before a position made durable, and the
// writes between the two.
func (d *Disk) flushed(at int) (content []sector, rest []record) {
	d.mu.Lock()
	log := d.log[:at] // records do not change
	d.mu.Unlock()
	content = slices.Clone(d.base)
	last := flushedAt(log)
	for _, r := range log[:last] {
		r.apply(content)
	}
	return content, log[last:]
}

// scatter leaves in each sector that was written any one of the states that it was in.
func scatter(content []sector, writes []record, rng *rand.Rand) {
	seen := make(map[int]int)
	for _, r := range writes {
		for i, s := range r.sectors {
			at := r.first + i
			seen[at]++
			// The n-th write replaces the earlier choice with odds of one in n+1, so
			// that each of the n+1 states is as likely as the others.
			if rng.IntN(seen[at]+1) == 0 {
				content[at] = s
			}
		}
	}
}
