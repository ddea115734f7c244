package workload

import (
	"context"
	"errors"
	"fmt"
)

// Probe requests the issuer's metadata and keys on behalf of an operator, also after a failure.
// It returns how many keys can verify a token. Errors: sentences.
func (i *Issuer) Probe(ctx context.Context) (keys int, err error) {
	found, err := i.fetch(ctx)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: until it can be asked, only tokens that a known key has signed are accepted", err)
	case len(found) == 0:
		return 0, errors.New("none of its keys can verify a signature, so no token of its jobs is accepted")
	}
	return len(found), nil
}
