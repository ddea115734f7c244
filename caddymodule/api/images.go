package api

import (
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// firstUsers is how many users of an image are shown with it.
const firstUsers = 20

// repository describes a repository, what its newest tag names, and what the caller may do there.
func (e *exchange) repository() (any, error) {
	row, err := e.Registry.RepositoryRow(e.r.Context(), e.repo)
	if err != nil {
		return nil, err
	}
	answer := RepositoryAnswer{Repository: e.shownRepository(row)}
	if row.Newest != "" {
		tag, err := e.Registry.TagRow(e.r.Context(), e.repo, row.Newest)
		if err != nil && !errors.Is(err, core.ErrManifestUnknown) { // it went meanwhile
			return nil, err
		}
		if err == nil {
			shown := shownTag(tag)
			answer.Newest = &shown
		}
	}
	if e.Rights != nil {
		answer.Rights = e.Rights(e.repo)
	}
	return answer, nil
}

// image describes what a tag names, or a manifest.
func (e *exchange) image() (any, error) {
	ctx := e.r.Context()
	answer := ImageAnswer{Repository: e.repo, Names: []Named{}, Users: []Content{}}
	d := e.digest
	if e.tag != "" {
		tag, err := e.Registry.TagRow(ctx, e.repo, e.tag)
		if err != nil {
			return nil, err
		}
		d = tag.Digest
		shown := shownTag(tag)
		shown.Image = nil // it is beside it
		answer.Tag = &shown
	}
	row, err := e.Registry.ImageRow(ctx, e.repo, d)
	if e.tag != "" && errors.Is(err, core.ErrManifestUnknown) {
		return answer, nil // the tag is held, and what it names is not
	}
	if err != nil {
		return nil, err
	}
	answer.Image = shownImage(row)
	if answer.Names, err = e.named(d); err != nil {
		return nil, err
	}
	for user, err := range e.Registry.UserRows(ctx, e.repo, d, "") {
		if err != nil {
			return nil, err
		}
		if answer.MoreUsers = len(answer.Users) == firstUsers; answer.MoreUsers {
			break
		}
		answer.Users = append(answer.Users, shownContent(user))
	}
	return answer, nil
}

// named describes what a manifest names. One that went meanwhile names nothing.
func (e *exchange) named(d digest.Digest) ([]Named, error) {
	shown := []Named{}
	rows, err := e.Registry.ImageNames(e.r.Context(), e.repo, d)
	if errors.Is(err, core.ErrManifestUnknown) || errors.Is(err, core.ErrNameUnknown) {
		return shown, nil
	}
	for _, row := range rows {
		one := Named{Digest: row.Digest, Held: row.Size >= 0, Manifest: row.Manifest, SharedHere: row.Users > 1, Elsewhere: row.Elsewhere}
		if one.Held {
			one.Size = row.Size
		}
		shown = append(shown, one)
	}
	return shown, err
}

// history describes what a tag names and named before.
func (e *exchange) history() (any, error) {
	tag, err := e.Registry.TagRow(e.r.Context(), e.repo, e.tag)
	if err != nil {
		return nil, err
	}
	before := []TagState{}
	for _, state := range tag.Before {
		before = append(before, shownState(state))
	}
	return HistoryAnswer{e.repo, e.tag, shownState(tag.TagState), before}, nil
}
