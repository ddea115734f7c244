package index

import (
	"bytes"
	"context"
	"iter"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/eblume/caddy-registry/core"
)

// shown bounds how many rows of the catalog one transaction composes. Each needs some look-ups,
// and pushes wait meanwhile.
const shown = 50

// passed bounds how many keys of one transaction are passed over without being composed.
const passed = 2000

// walk yields what compose makes of the keys in bucket that begin with prefix, behind after.
// compose may leave a key out, with false. Keys whose names have not the part that is sought are
// passed over, and core.MaxSought of them end the list in a *core.Pause.
func walk[T any](
	x *Index, bucket, prefix []byte, after string, sought func(tx *bbolt.Tx, rest string) bool,
	compose func(tx *bbolt.Tx, rest string, value []byte) (T, bool),
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		over := 0
		for more := true; more; {
			var page []T
			err := x.look(func(tx *bbolt.Tx) error {
				read, without := 0, 0
				c := rows(tx, bucket)
				k, v := c.seek(append(bytes.Clone(prefix), after...))
				for more = false; bytes.HasPrefix(k, prefix); k, v = c.next() {
					rest := string(k[len(prefix):])
					if rest == after && after != "" {
						continue
					}
					if read == shown || without == passed {
						more = true
						break
					}
					after = rest
					if sought != nil && !sought(tx, rest) {
						without++
						continue
					}
					read++
					if row, ok := compose(tx, rest, v); ok {
						page = append(page, row)
					}
				}
				over += without
				return nil
			})
			for _, row := range page {
				if err != nil || !yield(row, nil) {
					return
				}
			}
			if more && over >= core.MaxSought {
				err = &core.Pause{After: after}
			}
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
		}
	}
}

// seeker reports whether the name in a key has the part that ctx seeks; nil: nothing is sought. said
// is asked when the name has not, if ctx seeks in texts.
func seeker(ctx context.Context, name func(at string) string, said func(tx *bbolt.Tx, name, part string) bool) func(tx *bbolt.Tx, at string) bool {
	part, texts := core.Sought(ctx)
	if part == "" {
		return nil
	}
	return func(tx *bbolt.Tx, at string) bool {
		return strings.Contains(strings.ToLower(name(at)), part) || texts && said != nil && said(tx, name(at), part)
	}
}

// saysSo reports whether the row of a repository has a text that is in lower case. It may also be in
// another member.
func saysSo(tx *bbolt.Tx, repo, part string) bool {
	written := encoded(part) // as the row has it, in quotes
	return bytes.Contains(bytes.ToLower(get(tx, sumsBucket, []byte(repo))), written[1:len(written)-1])
}
