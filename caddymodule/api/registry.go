package api

import (
	"errors"
	"iter"

	"github.com/eblume/caddy-registry/caddymodule/overview"
	"github.com/eblume/caddy-registry/core/events"
)

// mirrors describes the mirrors in which the caller may read something.
func (e *exchange) mirrors() (any, error) {
	if e.View == nil {
		return nil, errRoute
	}
	return MirrorsAnswer{e.View.All()}, nil
}

func (e *exchange) oneMirror() (any, error) {
	if e.View == nil {
		return nil, errRoute
	}
	return e.View.One(e.r.Context(), e.target.mirror)
}

// activity lists the events that the caller may see.
func (e *exchange) activity() (any, error) {
	if e.View == nil {
		return nil, errRoute
	}
	q := events.Query{Repo: e.query["repo"], User: e.query["user"], Kind: e.query["event"]}
	got, next, err := collect(e,
		func(after string) iter.Seq2[overview.Event, error] { return e.View.Activity(e.r.Context(), q, after) },
		func(one overview.Event) string { return one.At },
		func(one overview.Event) (overview.Event, bool, error) { return one, true, nil })
	if errors.Is(err, events.ErrPlace) {
		return nil, invalid("after is not a place in this list; begin again without it")
	}
	next.Incomplete = false // it is about events
	return ActivityAnswer{got, next}, err
}

func (e *exchange) storage() (any, error) {
	if e.View == nil {
		return nil, errRoute
	}
	return e.View.Storage(e.r.Context())
}
