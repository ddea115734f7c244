package pages

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/overview"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/events"
)

// kindNames are the kinds of events in words. Of other kinds the word itself is shown.
var kindNames = []choice{
	{Value: "push", Name: "Pushed"}, {Value: "overwrite", Name: "Moved"}, {Value: "delete", Name: "Deleted"},
	{Value: "purge", Name: "Purged"}, {Value: "denied", Name: "Refused"}, {Value: "login", Name: "Signed in"},
	{Value: "login_refused", Name: "Login refused"}, {Value: "logout", Name: "Signed out"},
	{Value: "key_made", Name: "Key made"}, {Value: "key_revoked", Name: "Key revoked"},
	{Value: "key_expiring", Name: "Key ends soon"},
	{Value: "user_disabled", Name: "User disabled"}, {Value: "user_enabled", Name: "User enabled"},
	{Value: "gc", Name: "Collected"}, {Value: "verify", Name: "Verified"}, {Value: "evict", Name: "Evicted"},
}

// ofRepositories is how many of kindNames those see who do not administer the registry.
const ofRepositories = 4

// happened is an event as a row.
type happened struct {
	overview.Event
	What       string
	Path       string // of what it was about
	Short, Was string // the digests
	Bad        bool
}

func happenedOf(e overview.Event) happened {
	h := happened{
		Event: e, What: e.Kind, Short: short(digest.Digest(e.Digest)), Was: short(digest.Digest(e.Before)),
	}
	for _, kind := range kindNames {
		if kind.Value == e.Kind {
			h.What = kind.Name
		}
	}
	h.Bad = events.ShareOf(e.Kind) == events.Refusals
	switch {
	case e.Repository == "":
	case e.Tag != "" && e.Kind != "delete":
		h.Path = tagPath(e.Repository, e.Tag)
	default:
		h.Path = repositoryPath(e.Repository)
	}
	return h
}

type activityPage struct {
	frame
	Repo, User  string
	Kinds       []choice
	List        part[happened]
	First, Next string
	Admin       bool
}

// activity shows what happened.
func (s *Site) activity(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	value := func(name string) string { v := values.Get(name); return v[:min(len(v), core.MaxNameLength)] }
	q := events.Query{Repo: value("repo"), User: value("user"), Kind: value("event")}
	p := activityPage{frame: s.frame(r.Context(), "Activity"), Repo: q.Repo, User: q.User, Admin: s.View.Admin()}
	p.Frame.Here = "activity"
	kinds := kindNames
	if !p.Admin {
		kinds = kinds[:ofRepositories]
	}
	_, p.Kinds = choose(append([]choice{{Name: "Everything"}}, kinds...), q.Kind)
	after, err := s.place(values.Get("after"))
	if err == nil {
		var list part[overview.Event]
		list, err = read(s, s.View.Activity(r.Context(), q, after),
			func(e overview.Event) string { return e.At }, func(overview.Event) bool { return true })
		if errors.Is(err, events.ErrPlace) {
			err = errPlace
		}
		p.List = part[happened]{Passed: list.Passed, Next: list.Next, Short: list.Short}
		for _, e := range list.Rows {
			p.List.Rows = append(p.List.Rows, happenedOf(e))
		}
	}
	if err != nil {
		s.broken(w, r, reference{}, err)
		return
	}
	if p.List.Next != "" {
		p.Next = activityAddress(q, p.List.Next)
	}
	if after != "" {
		p.First = activityAddress(q, "")
	}
	s.render(w, r, http.StatusOK, "activity", p, new(bytes.Buffer))
}

// activityAddress is the address of a list of events.
func activityAddress(q events.Query, after string) string {
	values := url.Values{}
	for name, value := range map[string]string{"repo": q.Repo, "user": q.User, "event": q.Kind, "after": after} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if len(values) == 0 {
		return ActivityPath
	}
	return ActivityPath + "?" + values.Encode()
}
