package core

import "iter"

// MaxPassed is how many names one list skips because the caller may not see them. A
// page that is short because of it has a Link to the next one. It bounds the work of
// a request to the entries shown and a thousand decisions, about a millisecond; most
// registries have fewer names and never reach it.
const MaxPassed = 1000

// Pause is the error that ends a list early because MaxPassed names were skipped. The
// list continues behind After, which must not be shown to the caller: it may be a
// name that the caller may not see.
type Pause struct{ After string }

func (p *Pause) Error() string { return "the list goes on" }

// Filter yields errors and the names for which keep returns true. It ends in a *Pause
// when it has skipped MaxPassed names.
func Filter(names iter.Seq2[string, error], keep func(name string) bool) iter.Seq2[string, error] {
	return FilterRows(names, func(name string) string { return name }, keep)
}

// FilterRows is Filter for rows, whose place in their list at returns.
func FilterRows[T any](rows iter.Seq2[T, error], at func(T) string, keep func(T) bool) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		passed := 0
		for row, err := range rows {
			if err != nil || keep(row) {
				if !yield(row, err) {
					return
				}
				continue
			}
			if passed++; passed == MaxPassed {
				var zero T
				yield(zero, &Pause{After: at(row)})
				return
			}
		}
	}
}
