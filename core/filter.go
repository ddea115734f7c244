package core

import "iter"

// MaxPassed is how many names one list passes over because the caller may not see
// them. A page that is short because of it has a Link to the next one. It bounds the
// work of a request to what is shown and a thousand decisions, a millisecond or so;
// most registries have fewer names, and are listed as if there were no bound.
const MaxPassed = 1000

// Pause is the error that ends a list which is not at its end: MaxPassed names were
// passed over. The list goes on behind After, which is none of the caller's business:
// it may be a name that the caller may not see.
type Pause struct{ After string }

func (p *Pause) Error() string { return "the list goes on" }

// Filter yields the names that keep tells to, and errors. It ends in a *Pause when it
// has passed over MaxPassed names.
func Filter(names iter.Seq2[string, error], keep func(name string) bool) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		passed := 0
		for name, err := range names {
			if err != nil || keep(name) {
				if !yield(name, err) {
					return
				}
				continue
			}
			if passed++; passed == MaxPassed {
				yield("", &Pause{After: name})
				return
			}
		}
	}
}
