package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/upstream"
)

// rightsAge is how long the mirror trusts the upstream's answer to whether a repository is
// public.
const rightsAge = 24 * time.Hour

// maxRights bounds the answers in memory.
const maxRights = 1 << 14

// rights records whether the upstream shows a repository to an anonymous caller. The record
// exists once the upstream was asked, or once credentials fetched something. Without a record,
// everything held was fetched without credentials.
type rights struct {
	Hidden bool      `json:"hidden"`
	Asked  time.Time `json:"asked"` // zero: never, and credentials have fetched
}

// knownRights is a record, or the absence of one. A record that cannot be read counts as if the
// upstream was never asked: the repository is hidden until it is.
type knownRights struct {
	rights
	ok bool
}

// readRights reads a record strictly. A missing member must not be taken for "shown": one flipped
// bit turns the name of a member into an unknown one, or the year into a distant one.
func readRights(data []byte) (rights, error) {
	var record struct {
		Hidden *bool      `json:"hidden"`
		Asked  *time.Time `json:"asked"`
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&record); err != nil {
		return rights{}, err
	}
	switch {
	case record.Hidden == nil || record.Asked == nil:
		return rights{}, errors.New("a member is missing")
	case decoder.Decode(new(json.RawMessage)) != io.EOF:
		return rights{}, errors.New("something follows the record")
	case future(*record.Asked):
		return rights{}, errors.New("the upstream was asked in the future")
	}
	return rights{*record.Hidden, *record.Asked}, nil
}

func (r knownRights) within(age time.Duration) bool { return r.ok && time.Since(r.Asked) < age }

// hidden reports whether the repository counts as hidden while the upstream cannot be asked.
func (r knownRights) hidden(maxStale time.Duration) bool {
	return r.ok && (r.Hidden || !r.within(maxStale))
}

// secret reports whether even a failure to read must not be revealed.
func (r knownRights) secret() bool { return r.ok && (r.Hidden || r.Asked.IsZero()) }

// look is one request whose answer shows whether a repository is visible.
type look func(ctx context.Context, up Upstream) error

// withoutCredentials is a client that can ask anonymously: upstream.Client.
type withoutCredentials interface {
	Credentialed() bool
	Anonymous() *upstream.Client
}

// anonymous splits an upstream. Without credentials the two are one.
func anonymous(up Upstream) (nobody Upstream, credentialed bool) {
	if c, ok := up.(withoutCredentials); ok && c.Credentialed() {
		return c.Anonymous(), true
	}
	return up, false
}

// rightsOf returns the record of any repository of State, from memory or from the disk. The
// absence of a record is remembered until a mirror of State writes one.
func (m *Mirror) rightsOf(ctx context.Context, repo string) knownRights {
	known, ok, put := m.rights.look(repo)
	if ok {
		return known
	}
	key := rightsKey(repo)
	data, _, err := m.state.Get(ctx, key)
	switch {
	case errors.Is(err, bucket.ErrNotExist):
		put(knownRights{})
		return knownRights{}
	case err != nil:
		if ctx.Err() == nil {
			m.log.Warn("record of the mirror cannot be read; the repository is hidden until it can be", "key", key, "error", err)
		}
		return knownRights{ok: true}
	}
	var record rights
	if data, err = unseal(data); err == nil {
		record, err = readRights(data)
	}
	if err != nil {
		m.log.Warn("record of the mirror is damaged; the repository is hidden until the upstream has been asked anonymously",
			"key", key, "error", err)
	}
	known = knownRights{record, true}
	put(known)
	return known
}

// view is the record of a repository as one request sees it. It is looked up once, and again only
// after a record was changed, by this or another request: content that credentials fetched
// meanwhile is judged by the record that was written before it. One goroutine uses it.
type view struct {
	m      *Mirror
	repo   string
	looked bool
	known  knownRights
	at     uint64 // m.rights.changes, before that was looked up
}

func (m *Mirror) viewOf(repo string) *view { return &view{m: m, repo: repo} }

// rights is the record. See rightsOf.
func (v *view) rights(ctx context.Context) knownRights {
	if now := v.m.rights.changes.Load(); !v.looked || now != v.at {
		v.known, v.at, v.looked = v.m.rightsOf(ctx, v.repo), now, true
	}
	return v.known
}

// setRights writes a record. Memory is updated before the disk, and again after it, because
// others may have read the disk meanwhile.
func (m *Mirror) setRights(ctx context.Context, repo string, r rights) (kept bool) {
	m.rights.set(repo, knownRights{r, true})
	kept = m.remember(ctx, rightsKey(repo), r)
	m.rights.set(repo, knownRights{r, true})
	return kept
}

// noteCredentials records, before anything is stored, that credentials are used for a repository:
// from now on it is hidden unless the upstream says otherwise. It returns false if the record
// cannot be written: then nothing that the credentials fetch may be stored.
func (m *Mirror) noteCredentials(ctx context.Context, seen *view) bool {
	if m.credentialed && !seen.rights(ctx).ok {
		return m.setRights(ctx, seen.repo, rights{})
	}
	return true
}

// askAgain has a hidden repository looked at anew, after a purge.
func (m *Mirror) askAgain(ctx context.Context, repo string) {
	if known := m.rightsOf(ctx, repo); known.Hidden {
		m.setRights(ctx, repo, rights{Hidden: true})
	}
}

// hides refuses, before everything else, a repository that is known to be hidden from the caller.
func (m *Mirror) hides(ctx context.Context, seen *view) error {
	if known := seen.rights(ctx); known.Hidden && known.within(rightsAge) {
		return m.hide(ctx, seen.repo)
	}
	return nil
}

// hide returns the same refusal as for a repository that the caller may not read. It returns nil
// for callers that may see what the upstream hides.
func (m *Mirror) hide(ctx context.Context, repo string) error {
	if access := core.AccessFrom(ctx); !access.Private {
		return access.Hidden(repo)
	}
	return nil
}

// reveal decides whether the caller may see the content that is about to be served, and asks the
// upstream anonymously when its last answer is too old. held reports whether something of the
// repository was held before this request. missing is the error for content that is not shown to
// our credentials either, and noun names the content.
func (m *Mirror) reveal(ctx context.Context, seen *view, noun string, held bool, missing *core.Error, look look) error {
	repo, access := seen.repo, core.AccessFrom(ctx)
	if access.Private {
		return nil
	}
	known := seen.rights(ctx)
	if !known.ok && !m.credentialed {
		return nil
	}
	if !known.ok && !held && !access.Fetch {
		// The upstream was never asked, and this caller may not have it asked: the repository is
		// treated like any other that is not held.
		return access.Unfetched("what is asked for of " + repo)
	}
	if !known.ok && !held {
		if err := m.unveil(ctx, repo, noun, missing, look); err != nil {
			return err
		}
		known = seen.rights(ctx)
	}
	stale := known.hidden(m.settings.Load().MaxStale)
	if !known.within(rightsAge) && access.Fetch {
		now, err := together(ctx, m, "mirror.rights", "rights "+noun, func(ctx context.Context) (knownRights, error) {
			return m.askRights(ctx, repo, look)
		})
		switch {
		case err == nil:
			stale = now.Hidden
		case ctx.Err() != nil:
			return err
		case refused(err) && !held && !known.secret():
			return fmt.Errorf("%s: %w", repo, failed(err, missing))
		}
	}
	if stale {
		return m.hide(ctx, repo)
	}
	return nil
}

// askRights asks anonymously. A refusal means that the repository is hidden only if our
// credentials can see it: otherwise it does not exist.
func (m *Mirror) askRights(ctx context.Context, repo string, look look) (knownRights, error) {
	known := m.rightsOf(ctx, repo)
	if known.within(rightsAge) {
		return known, nil // another flight ended since the lookup
	}
	err := look(ctx, m.nobody)
	now := rights{Asked: time.Now().UTC()}
	switch {
	case err == nil, errors.Is(err, errNoTags), errors.Is(err, upstream.ErrInvalid):
	case !refused(err):
		return known, err
	case !m.credentialed:
		if !known.ok {
			return known, err
		}
		// Credentials that were removed since have fetched it, and anonymous callers cannot see
		// it.
		now.Hidden = true
	default:
		if err := look(ctx, m.upstream); err != nil && !errors.Is(err, errNoTags) {
			return known, err
		}
		now.Hidden = true
	}
	if now.Hidden && !known.Hidden {
		m.log.Warn("the upstream shows a repository only to the stored credentials; it is served only to callers that `private` of the mirror names",
			"repository", repo)
	}
	m.setRights(ctx, repo, now)
	return knownRights{now, true}, nil
}

// lookAtManifest asks what a reference names, with a GET where HEAD does not say.
func lookAtManifest(remote string, ref core.Reference) look {
	return func(ctx context.Context, up Upstream) error {
		_, err := up.Head(ctx, remote, ref)
		if errors.Is(err, upstream.ErrNoDigest) {
			var answer upstream.Answer
			answer, err = up.Manifest(ctx, remote, ref)
			answer.Release()
		}
		return err
	}
}

// lookAtBlob asks for a blob of that size; -1 if it is not held.
func lookAtBlob(remote string, d digest.Digest, size int64) look {
	return func(ctx context.Context, up Upstream) error {
		_, err := up.Attest(ctx, remote, d, size)
		return err
	}
}

// errNoTags is the result for an empty list, which some registries return for repositories that
// do not exist.
var errNoTags = errors.New("the upstream has no tags")

func lookAtTags(remote string) look {
	return func(ctx context.Context, up Upstream) error {
		tags, err := up.Tags(ctx, remote)
		if err == nil && len(tags) == 0 {
			return errNoTags
		}
		return err
	}
}

// visible reports whether a list may name a repository. It does not ask the upstream.
func (m *Mirror) visible(ctx context.Context, repo string) bool {
	return core.Reveals(ctx, repo) || !m.rightsOf(ctx, repo).hidden(m.settings.Load().MaxStale)
}

// hiddenNow is visible for a repository of any mirror of the store, and for all callers.
func (m *Mirror) hiddenNow(ctx context.Context, repo string) bool {
	return m.rightsOf(ctx, repo).hidden(m.settings.Load().MaxStale)
}
