// Package coretest has the contracts of core, core/bucket and store.Names as tests. Whoever
// implements a role runs its suite: the promises are then checked in one place, in
// the same words, for every implementation.
//
//	func TestContract(t *testing.T) {
//		coretest.Registry(t, func(t *testing.T) core.Registry { return openMine(t) })
//	}
//
// A suite looks only at what the interface shows, never at files or keys, so that
// the inside may move.
package coretest

import (
	"errors"
	"testing"

	"github.com/eblume/caddy-registry/core"
)

// Open makes a fresh, empty registry for one test and cleans it up with t. The
// suite asks subject. What must be there before it asks is put into fill, which is
// the subject itself unless that cannot be written to (a mirror's upstream, say).
type Open func(t *testing.T) (subject, fill core.Registry)

// Registry runs every suite over what open returns. A registry that has only some
// of the roles calls Reader, Writer, Deleter or Lister itself.
func Registry(t *testing.T, open func(t *testing.T) core.Registry) {
	both := func(t *testing.T) (core.Registry, core.Registry) {
		reg := open(t)
		return reg, reg
	}
	t.Run("reader", func(t *testing.T) { Reader(t, both) })
	t.Run("writer", func(t *testing.T) { Writer(t, both) })
	t.Run("uploads", func(t *testing.T) { Uploads(t, both) })
	t.Run("deleter", func(t *testing.T) { Deleter(t, both) })
	t.Run("lister", func(t *testing.T) { Lister(t, both) })
	t.Run("concurrency", func(t *testing.T) { Concurrency(t, both) })
}

// clause is one sentence of the contract, as a test on a registry of its own.
type clause struct {
	name string
	test func(t *testing.T, f *fixture)
}

func run(t *testing.T, open Open, clauses []clause) {
	for _, c := range clauses {
		t.Run(c.name, func(t *testing.T) {
			subject, fill := open(t)
			c.test(t, &fixture{TB: t, reg: subject, fill: fill})
		})
	}
}

// wantError checks that err is want and none of the other conditions: a caller
// that maps conditions to a status must not have to choose.
func wantError(t testing.TB, what string, err error, want *core.Error) {
	t.Helper()
	switch held := conditions(err); {
	case err == nil:
		t.Errorf("%s: no error, want %q", what, want)
	case len(held) != 1 || held[0] != want:
		t.Errorf("%s: got error %v with conditions %v, want %q alone", what, err, held, want)
	}
}

// wantUnknown checks that err says the repository is not known, or one is: what a
// registry says about a repository that holds nothing is its own choice.
func wantUnknown(t testing.TB, what string, err error, one *core.Error) {
	t.Helper()
	held := conditions(err)
	if len(held) != 1 || held[0] != core.ErrNameUnknown && held[0] != one {
		t.Errorf("%s: got error %v, want %q or %q", what, err, core.ErrNameUnknown, one)
	}
}

// conditions returns the different values of core's error table in err's tree.
func conditions(err error) []*core.Error {
	var held []*core.Error
	var walk func(error)
	walk = func(err error) {
		if c, ok := err.(*core.Error); ok {
			for _, h := range held {
				if h == c {
					return
				}
			}
			held = append(held, c)
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			if inner := e.Unwrap(); inner != nil {
				walk(inner)
			}
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				walk(inner)
			}
		}
	}
	if err != nil {
		walk(err)
	}
	return held
}

// errReader yields data and then err: a client that vanishes.
type errReader struct {
	data []byte
	err  error
}

func (r *errReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, r.err
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	return n, nil
}

var errGone = errors.New("client is gone")
