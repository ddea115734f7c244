package workload

import (
	"context"
	"errors"
	"fmt"
)

// Probe asks the issuer who it is and for its keys, for a person, whatever failed
// before. It returns how many keys can verify a token. Errors: sentences.
func (i *Issuer) Probe(ctx context.Context) (keys int, err error) {
	found, err := i.fetch(ctx)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: until it can be asked, tokens of its jobs are good only where their keys are known", err)
	case len(found) == 0:
		return 0, errors.New("none of its keys can verify a signature, so no token of its jobs is good")
	}
	return len(found), nil
}
