package pages

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/artifacts"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

// fetching bounds how many visitors have upstreams asked at once: each may hold a manifest and a config.
var fetching = newTurns(8)

// fetchFor is how long a visitor waits for an upstream.
const fetchFor = 30 * time.Second

// asking returns the context of a request that asks an upstream, in its turn. Errors: those of turns.take.
func (s *Site) asking(ctx context.Context) (_ context.Context, end func(), err error) {
	ctx, cancel := context.WithTimeout(core.WithoutLook(ctx), fetchFor)
	done, err := s.take(ctx, fetching)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return ctx, func() { done(); cancel() }, nil
}

// allowed reports whether the visitor may do something in a repository, with a name or without one.
func (s *Site) allowed(repo string, action policies.Action) bool {
	return slices.ContainsFunc(s.rights(repo), func(one Right) bool { return one.Action == action && one.Allowed })
}

// mayFetch reports whether the visitor may have the mirror that has a repository ask its upstream.
// Visitors without a name may if a rule says so, as with a client.
func (s *Site) mayFetch(repo string) bool {
	return s.mirrorOf(repo) != "" && s.allowed(repo, policies.Read) && s.allowed(repo, policies.Fetch)
}

// admitFetch looks whether the visitor may have an upstream asked. If it returns false, it has answered.
func (s *Site) admitFetch(w http.ResponseWriter, r *http.Request, f reference, back string) bool {
	switch {
	case s.mayFetch(f.repo):
		return true
	case s.mirrorOf(f.repo) == "", !s.allowed(f.repo, policies.Read):
		s.broken(w, r, f, core.ErrNameUnknown)
		return false
	}
	return s.admit(w, r, f.repo, back, policies.Fetch)
}

// fetch has a mirror fetch an image that it does not hold, as far as its page shows it: the manifest, of
// an index that of a platform, the config of an image, and the documents of an artifact. The layers come with
// the first pull.
func (s *Site) fetch(w http.ResponseWriter, r *http.Request, f reference) {
	values, ok := s.form(w, r)
	if !ok {
		return
	}
	page := f.path()
	if platform := values.Get("platform"); platform != "" {
		page += "?" + url.Values{"platform": {platform}}.Encode()
	}
	if r.Method != http.MethodPost {
		http.Redirect(w, r, page, http.StatusFound)
		return
	}
	if !s.admitFetch(w, r, f, page) {
		return
	}
	if err := s.bring(r.Context(), f, values.Get("platform")); err != nil {
		s.unfetched(w, r, f, err)
		return
	}
	http.Redirect(w, r, page, http.StatusSeeOther)
}

// bring reads what fetch fetches. Errors: those of core.Reader.
func (s *Site) bring(ctx context.Context, f reference, wanted string) error {
	ctx, end, err := s.asking(ctx)
	if err != nil {
		return err
	}
	defer end()
	found, err := s.Registry.Manifest(ctx, f.repo, f.Reference)
	if err != nil {
		return err
	}
	doc, err := core.Inspect(found.Bytes)
	if err != nil {
		return err
	}
	if child := chosenOf(core.ImageRow{ImageFacts: core.Facts(&doc, found.Descriptor.MediaType, found.Bytes)}, wanted); child != "" {
		if found, err = s.Registry.Manifest(ctx, f.repo, core.Reference{Digest: child}); err != nil {
			return err
		}
		if doc, err = core.Inspect(found.Bytes); err != nil {
			return err
		}
	}
	var wanting []digest.Digest
	if doc.Configurable() {
		wanting = append(wanting, doc.Config.Digest)
	}
	files, _ := artifacts.Files(found.Bytes)
	for _, one := range files {
		if len(wanting) < maxContents && isRead(one) && one.Size <= artifacts.Largest(one.MediaType) {
			wanting = append(wanting, one.Digest)
		}
	}
	for _, d := range wanting {
		if err := s.drain(ctx, f.repo, d); err != nil {
			return err
		}
	}
	return nil
}

// drain reads a file of an image to its end, so that the mirror has it.
func (s *Site) drain(ctx context.Context, repo string, d digest.Digest) error {
	file, err := s.Registry.Blob(ctx, repo, d)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(file, artifacts.MaxArchive))
	return err
}

// chosenOf is the manifest of an index that its page shows, or empty.
func chosenOf(row core.ImageRow, wanted string) digest.Digest {
	some := ofPlatforms(row)
	if !isIndex(row) || len(some) == 0 {
		return ""
	}
	for _, one := range some {
		if one.Platform == wanted {
			return one.Digest
		}
	}
	return preferred(some).Digest
}

// unfetched answers that an upstream did not give what a visitor asked it for.
func (s *Site) unfetched(w http.ResponseWriter, r *http.Request, f reference, err error) {
	mirror := s.mirrorOf(f.repo)
	is := func(one error) bool { return errors.Is(err, one) }
	retry(w, err)
	switch {
	case slices.ContainsFunc(absent, is):
		s.fail(w, r, http.StatusNotFound, "The upstream gives no such image", mirror+" has none of that name, or does not give it to you. Nothing was changed.")
	case is(core.ErrTooManyRequests):
		s.fail(w, r, http.StatusServiceUnavailable, "The upstream limits requests", "What "+mirror+" allows in its time has been used up. Try again later.")
	case is(core.ErrUpstream), is(core.ErrUpstreamTimeout):
		s.fail(w, r, http.StatusBadGateway, "The upstream cannot be asked", mirror+" is broken or cannot be reached. Try again later; the page of the mirror says since when.")
	case is(context.DeadlineExceeded):
		s.fail(w, r, http.StatusGatewayTimeout, "The upstream takes its time", "What "+mirror+" sends goes on coming. Look again in a moment.")
	case is(core.ErrManifestInvalid), is(core.ErrManifestTooLarge):
		s.fail(w, r, http.StatusBadGateway, "This image cannot be fetched", mirror+" has it in a form that this registry does not take.")
	default:
		s.broken(w, r, f, err)
	}
}

// offeredPage is the tags of a repository that a mirror's upstream has.
type offeredPage struct {
	frame
	Repo, Mirror string
	// AsOf is when the upstream was asked. Zero: it was not.
	AsOf time.Time
	Tags part[string]
	// Held: the mirror holds something of the repository.
	Held, Fetches bool
	Filter        string
	First, Next   string
}

// offered shows the tags of a repository that the upstream of its mirror had when it was asked last. A
// form has it asked now.
func (s *Site) offered(w http.ResponseWriter, r *http.Request, f reference) {
	values, ok := s.form(w, r)
	if !ok {
		return
	}
	mirror := s.mirrorOf(f.repo)
	if mirror == "" {
		s.broken(w, r, f, core.ErrNameUnknown)
		return
	}
	if r.Method == http.MethodPost {
		s.askTags(w, r, f)
		return
	}
	ctx, notes := core.WithNotes(r.Context())
	after, err := s.place(values.Get("after"))
	if err != nil {
		s.broken(w, r, f, err)
		return
	}
	p := offeredPage{Repo: f.repo, Mirror: mirror, Filter: filterOf(values), Fetches: s.mayFetch(f.repo)}
	p.Tags, err = read(s, s.Registry.Tags(ctx, f.repo, after), func(tag string) string { return tag }, func(tag string) bool {
		return p.Filter == "" || strings.Contains(strings.ToLower(tag), strings.ToLower(p.Filter))
	})
	if err != nil && (!notHeld(err) || !p.Fetches) {
		s.broken(w, r, f, err)
		return
	}
	p.AsOf = notes.AsOf()
	_, err = s.Registry.RepositoryRow(ctx, f.repo)
	p.Held = err == nil
	p.frame = s.frame(ctx, "Tags of "+f.repo, crumbs(f.repo, p.Held)...)
	address := func(after string) string {
		values := url.Values{}
		if p.Filter != "" {
			values.Set("tag", p.Filter)
		}
		if after != "" {
			values.Set("after", after)
		}
		if len(values) == 0 {
			return offeredPath(f.repo)
		}
		return offeredPath(f.repo) + "?" + values.Encode()
	}
	if p.Tags.Next != "" {
		p.Next = address(p.Tags.Next)
	}
	if after != "" {
		p.First = address("")
	}
	s.render(w, r, http.StatusOK, "offered", p, new(bytes.Buffer))
}

// askTags has an upstream asked for the tags of a repository.
func (s *Site) askTags(w http.ResponseWriter, r *http.Request, f reference) {
	if !s.admitFetch(w, r, f, offeredPath(f.repo)) {
		return
	}
	ctx, end, err := s.asking(r.Context())
	if err != nil {
		s.broken(w, r, f, err)
		return
	}
	defer end()
	ctx, notes := core.WithNotes(ctx)
	err = core.ErrNameUnknown // an empty list is kept nowhere
	for _, err = range s.Registry.Tags(ctx, f.repo, "") {
		break // the first one has the whole list come
	}
	if err != nil {
		s.unfetched(w, r, f, err)
		return
	}
	if notes.Source() == core.SourceStale { // a client is content with that
		s.fail(w, r, http.StatusBadGateway, "The upstream cannot be asked", s.mirrorOf(f.repo)+" is broken, cannot be reached or limits requests. What is known of its tags is as old as before. Try again later.")
		return
	}
	http.Redirect(w, r, offeredPath(f.repo), http.StatusSeeOther)
}

// offers returns when the upstream of a mirror was asked for the tags of a repository, and whether there is
// a list of them.
func (s *Site) offers(ctx context.Context, repo string) (asOf time.Time, ok bool) {
	ctx, notes := core.WithNotes(ctx)
	for _, err := range s.Registry.Tags(ctx, repo, "") {
		return notes.AsOf(), err == nil
	}
	return time.Time{}, false
}
