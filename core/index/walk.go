package index

import (
	"bytes"
	"context"
	"iter"
	"strings"
	"unicode/utf8"

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

// seeker reports whether the name in a key has the part that ctx seeks; nil: nothing is sought. If ctx
// seeks in texts, those of the repository with that name count, too, where said is true.
func seeker(ctx context.Context, name func(at string) string, said bool) func(tx *bbolt.Tx, at string) bool {
	part, texts := core.Sought(ctx)
	if part == "" {
		return nil
	}
	written := encoded(part) // as a row has it, in quotes
	says := saying{part: written[1 : len(written)-1]}
	return func(tx *bbolt.Tx, at string) bool {
		return strings.Contains(strings.ToLower(name(at)), part) || texts && said && says.so(tx, name(at))
	}
}

// saying looks for a text in the rows of repositories. It is made once for a list, so that a row costs no
// memory.
type saying struct {
	part       []byte // in lower case, as JSON has it
	key, lower []byte
	tx         *bbolt.Tx
	sums       *bbolt.Bucket // of tx
}

// so reports whether the row of a repository has the text. It may also be in another member.
func (s *saying) so(tx *bbolt.Tx, repo string) bool {
	if s.tx != tx {
		s.tx, s.sums = tx, tx.Bucket(sumsBucket)
	}
	s.key = append(s.key[:0], repo...)
	row := valueOf(s.sums, s.key)
	s.lower = s.lower[:0]
	for _, b := range row {
		if b >= utf8.RuneSelf {
			return bytes.Contains(bytes.ToLower(row), s.part)
		}
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		s.lower = append(s.lower, b)
	}
	return bytes.Contains(s.lower, s.part)
}
