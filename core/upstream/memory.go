package upstream

import (
	"bytes"
	"context"
	"io"

	"github.com/eblume/caddy-registry/core/budget"
)

const (
	// received bounds the bytes of manifests that this process receives and parses at
	// once from upstreams, at the request of any caller that may fetch. It is a quarter of the
	// bound for pushes: four of the largest manifests, or a thousand usual ones.
	received = budget.Manifests / 4
	// receivedEach is the part of it that one upstream can have, so that a slow one
	// leaves room for others.
	receivedEach = received / 2
	// receivedFirst is what is reserved for an answer that does not say its length, in
	// bytes. Few manifests are larger, and only those reserve the maximum.
	receivedFirst = 64 << 10
)

var receiving = budget.New(received, receivedEach)

// reserved reads the whole body into memory that is reserved first, so that many large
// answers wait for each other. release is called once, also after an error. Errors:
// ErrTooLarge beyond most bytes; those of budget.Budget.Acquire.
func (r *reply) reserved(ctx context.Context, most int64) (data []byte, release func(), err error) {
	var given []func()
	release = func() {
		for _, give := range given {
			give()
		}
	}
	reserve := func(n int64) error {
		give, err := receiving.Acquire(ctx, r.base.Host, n)
		if err == nil {
			given = append(given, give)
		}
		return err
	}
	if r.ContentLength > most {
		return nil, release, r.fail(ErrTooLarge, "its announced length is larger than its kind may be")
	}
	first := r.ContentLength
	if first < 0 {
		first = min(receivedFirst, most)
	}
	if err := reserve(first); err != nil {
		return nil, release, err
	}
	var body bytes.Buffer
	body.Grow(int(first) + bytes.MinRead) // ReadFrom looks for the end with as much free
	n, err := body.ReadFrom(io.LimitReader(r, first))
	if err == nil && n == first && r.ContentLength < 0 {
		if err = reserve(most - first); err == nil {
			body.Grow(int(most-first) + bytes.MinRead)
			n, err = body.ReadFrom(io.LimitReader(r, most-first+1))
			if err == nil && n > most-first {
				err = r.fail(ErrTooLarge, "it is larger than its kind may be")
			}
		}
	}
	if data = body.Bytes(); cap(data) > len(data)+len(data)/8 {
		data = bytes.Clone(data) // stored bytes occupy no more memory than is counted for them
	}
	return data, release, err
}
