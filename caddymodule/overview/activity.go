package overview

import (
	"context"
	"iter"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/events"
)

// Event is an event as a caller sees it. See events.Event.
type Event struct {
	// At is its place in lists.
	At         string    `json:"-"`
	Time       time.Time `json:"time"`
	Kind       string    `json:"kind"`
	Repository string    `json:"repository,omitempty"`
	Tag        string    `json:"tag,omitempty"`
	Digest     string    `json:"digest,omitempty"`
	Before     string    `json:"before,omitempty"`
	// User is for those who are signed in. Credential and Address are for administrators.
	User       string `json:"user,omitempty"`
	Credential string `json:"credential,omitempty"`
	Address    string `json:"address,omitempty"`
	Subject    string `json:"subject,omitempty"`
	Text       string `json:"text,omitempty"`
	// Count is how many such events it stands for, if it is more than one.
	Count int64 `json:"count,omitempty"`
}

// Activity yields the events that the caller may see, the newest first, behind a place, which is the At
// of an earlier event or empty. Administrators see all. Others see what was pushed, moved and deleted in
// repositories that they may read. Errors: events.ErrPlace, a *core.Pause.
func (v *Viewer) Activity(ctx context.Context, q events.Query, after string) iter.Seq2[Event, error] {
	admin := v.Admin()
	if !admin {
		q.Changes = true
		if v.Who.Anonymous() && q.User != "" || q.Repo != "" && !v.sees(ctx, q.Repo) {
			return func(func(Event, error) bool) {} // not even whether there are any
		}
	}
	rows := core.FilterRows(v.Source.Events(ctx, q, after), events.At, func(e events.Event) bool {
		return admin || e.Repo != "" && events.ShareOf(e.Kind) == events.Changes && v.sees(ctx, e.Repo)
	})
	return func(yield func(Event, error) bool) {
		for e, err := range rows {
			if !yield(v.event(e, admin), err) {
				return
			}
		}
	}
}

// event is what the caller sees of an event.
func (v *Viewer) event(e events.Event, admin bool) Event {
	shown := Event{
		At: events.At(e), Time: e.Time, Kind: e.Kind, Repository: e.Repo, Tag: e.Tag, Digest: e.Digest, Before: e.Before,
		User: e.User, Credential: e.Credential, Address: e.Address, Subject: e.Subject, Text: e.Text, Count: e.Count,
	}
	if !admin {
		shown.Credential, shown.Address, shown.Subject = "", "", ""
	}
	if v.Who.Anonymous() && !admin {
		shown.User = ""
	}
	return shown
}
