package download

import "slices"

// span is a part of a blob: the bytes from start up to end, without that.
type span struct{ start, end int64 }

func (s span) size() int64 { return s.end - s.start }

func (s span) has(offset int64) bool { return s.start <= offset && offset < s.end }

// meets reports whether the two overlap or touch.
func (s span) meets(t span) bool { return s.start <= t.end && t.start <= s.end }

// with is the span from the first byte of both to the last.
func (s span) with(t span) span { return span{min(s.start, t.start), max(s.end, t.end)} }

// spans are in order, and do not touch.
type spans []span

// add has s among the spans.
func (all *spans) add(s span) {
	kept := (*all)[:0]
	for _, t := range *all {
		if s.meets(t) {
			s = s.with(t)
		} else {
			kept = append(kept, t)
		}
	}
	at, _ := slices.BinarySearchFunc(kept, s.start, func(t span, start int64) int { return int(min(1, max(-1, t.start-start))) })
	*all = slices.Insert(kept, at, s)
}

// end returns the end of the span with the byte at offset, or offset if no span has it.
func (all spans) end(offset int64) int64 {
	for _, s := range all {
		if s.has(offset) {
			return s.end
		}
	}
	return offset
}

// before is the last offset up to last that no span has.
func (all spans) before(last int64) int64 {
	for _, s := range all {
		if s.has(last) {
			return s.start - 1
		}
	}
	return last
}

// gap is the part around offset that no span has. offset is in no span.
func (all spans) gap(offset, size int64) span {
	gap := span{0, size}
	for _, s := range all {
		if s.end <= offset {
			gap.start = s.end
		} else {
			gap.end = s.start
			break
		}
	}
	return gap
}
