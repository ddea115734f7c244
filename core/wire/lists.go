package wire

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/eblume/caddy-registry/core"
)

// maxEntries is the longest list in one answer. Probes and old clients ask without `n`
// and ignore Link, so it exceeds the number of tags of nearly every repository, and is
// still about a megabyte at most.
const maxEntries = 10_000

// listTags answers end-8a and end-8b.
func (e *exchange) listTags() error {
	tags, last, err := e.page(e.reg.Tags(e.context(), e.req.Repo, e.req.Last))
	if err != nil {
		return fmt.Errorf("list tags of %s: %w", e.req.Name, err)
	}
	e.warn()
	return e.list("tags/list", last, struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{e.req.Name, tags})
}

// catalog answers /v2/_catalog.
func (e *exchange) catalog() error {
	after, err := e.place(e.req.Last)
	if err != nil {
		return err
	}
	repos, last, err := e.page(e.reg.Repositories(e.r.Context(), after))
	if err != nil {
		return fmt.Errorf("list repositories: %w", err)
	}
	return e.list("_catalog", last, struct {
		Repositories []string `json:"repositories"`
	}{repos})
}

// page reads as many entries as were asked for. It looks one further to know whether
// there is more, and so finds out with n=0 whether the repository exists. entries is
// never nil: clients expect [], not null. last is the `last` of the next page, or
// empty; a list that pauses goes on behind an entry that this caller may not see.
func (e *exchange) page(seq iter.Seq2[string, error]) (entries []string, last string, err error) {
	limit := e.limit()
	entries = make([]string, 0, min(limit, 128))
	for entry, err := range seq {
		var pause *core.Pause
		switch {
		case errors.As(err, &pause):
			last, err = e.cursor(pause.After)
			return entries, last, err
		case err != nil:
			return nil, "", err
		case len(entries) == limit && limit == 0:
			return entries, "", nil
		case len(entries) == limit:
			return entries, entries[limit-1], nil
		}
		entries = append(entries, entry)
	}
	return entries, "", nil
}

// limit returns how many entries the answer may have.
func (e *exchange) limit() int {
	if e.req.N < 0 {
		return maxEntries
	}
	return min(e.req.N, maxEntries)
}

// list writes a list, with a Link to its next page if there is more. With n=0 there is
// no Link: its next page would be the same again.
func (e *exchange) list(path, last string, document any) error {
	body, err := marshal(document)
	if err != nil {
		return fmt.Errorf("encode list: %w", err)
	}
	e.set("Cache-Control", e.cacheControl(false))
	if last != "" && e.limit() > 0 {
		e.set("Link", e.next(path, last, url.Values{"n": {strconv.Itoa(e.limit())}}))
	}
	e.send(http.StatusOK, "application/json", body)
	return nil
}

// next returns the Link field for the page behind last (RFC 8288).
func (e *exchange) next(path, last string, query url.Values) string {
	query.Set("last", last)
	return "<" + e.location(path, query) + `>; rel="next"`
}
