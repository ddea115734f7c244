package pages

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

type backPage struct {
	frame
	Repo string
	Row  core.TagRow // what the tag names now
	To   core.TagState
	Was  core.ImageRow // what To was
	// Changed: the tag moved since the visitor saw it.
	Changed bool
	// Days are those of deletePage.
	Days int
}

// back points a tag back to what it named before.
func (s *Site) back(w http.ResponseWriter, r *http.Request, f reference) {
	ctx := r.Context()
	values, ok := s.form(w, r)
	if !ok {
		return
	}
	row, err := s.Registry.TagRow(ctx, f.repo, f.Tag)
	if err != nil {
		s.broken(w, r, f, err)
		return
	}
	if r.Method != http.MethodPost && values.Get("to") == "" {
		http.Redirect(w, r, historyPath(f.repo, f.Tag), http.StatusFound)
		return
	}
	to, err := core.ParseDigest(values.Get("to"))
	p := backPage{Repo: f.repo, Row: row}
	if at := slices.IndexFunc(row.Before, func(one core.TagState) bool { return one.Digest == to }); err == nil && at >= 0 {
		p.To = row.Before[at]
		p.Was, err = s.Registry.ImageRow(ctx, f.repo, to)
	} else if err == nil {
		err = core.ErrManifestUnknown
	}
	if err != nil {
		s.broken(w, r, f, err)
		return
	}
	if s.mirrorOf(f.repo) != "" {
		s.fail(w, r, http.StatusForbidden, "Tags of a mirror follow the upstream", "They cannot be moved here. Nothing was changed.")
		return
	}
	if !s.admit(w, r, f.repo, backPath(f.repo, f.Tag, to), policies.Create, policies.Update) {
		return
	}
	p.frame = s.frame(ctx, "Point "+f.Tag+" back", append(crumbs(f.repo, true), crumb{f.Tag, tagPath(f.repo, f.Tag)})...)
	if s.Untagged > 0 {
		p.Days = max(1, int(s.Untagged.Hours()/24))
	}
	switch do := values.Get("do"); {
	case r.Method != http.MethodPost || do == "":
		s.render(w, r, http.StatusOK, "back", p, new(bytes.Buffer))
		return
	case do != "back":
		s.fail(w, r, http.StatusBadRequest, "This form cannot be read", "It is not one of this page. Nothing was changed.")
		return
	}
	from, err := core.ParseDigest(values.Get("from"))
	if err != nil || from != row.Digest {
		err = core.ErrChanged
	} else {
		err = s.point(ctx, f, from, to)
	}
	switch {
	case err == nil:
		http.Redirect(w, r, tagPath(f.repo, f.Tag), http.StatusSeeOther)
	case errors.Is(err, core.ErrDenied), errors.Is(err, core.ErrTagExists), errors.Is(err, core.ErrUnauthorized):
		s.denied(w, r, f.repo, policies.Update, err)
	case errors.Is(err, core.ErrChanged):
		p.Changed = true
		if now, err := s.Registry.TagRow(ctx, f.repo, f.Tag); err == nil {
			p.Row = now
		}
		s.render(w, r, http.StatusConflict, "back", p, new(bytes.Buffer))
	default:
		s.broken(w, r, f, err)
	}
}

// point moves a tag from one manifest to another that is held, if it still names the first.
func (s *Site) point(ctx context.Context, f reference, from, to digest.Digest) error {
	m, err := s.Registry.Manifest(ctx, f.repo, core.Reference{Digest: to})
	if err != nil {
		return err
	}
	_, err = s.Registry.PutManifest(ctx, f.repo, core.ManifestPut{
		MediaType: m.Descriptor.MediaType, Bytes: m.Bytes, Digest: to, Tags: []string{f.Tag}, From: from,
	})
	return err
}
