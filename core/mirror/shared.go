package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/upstream"
)

// Shared is a cache in which several processes share what they learned from the same upstreams.
// It is not authoritative and never fails: the upstream is asked for a value that it does not
// have, or cannot return in a moment. A value that Get returns was put under that key by a
// permitted process, at most age ago. See core/cache/redis.
type Shared interface {
	Get(ctx context.Context, key string) (value []byte, ok bool)
	Put(ctx context.Context, key string, value []byte, age time.Duration)
	Delete(ctx context.Context, key string)
}

// sharedManifestAge is how long others may take a manifest from here: long enough for
// a fleet that starts one after the other. Its digest never changes.
const sharedManifestAge = 24 * time.Hour

// clockSkew is how far another process's clock may be ahead of ours.
const clockSkew = 2 * time.Second

// verdict is the upstream's answer about a tag, and when it was asked.
type verdict struct {
	Digest digest.Digest `json:"digest,omitempty"` // empty: it is not there
	Time   time.Time     `json:"time"`
}

// The keys begin with their purpose and the audience: another upstream, or other credentials,
// give other answers.
func (m *Mirror) tagKey(repo, tag string) string {
	return "tag/" + m.audience + "/" + repo + ":" + tag
}

func (m *Mirror) manifestKey(repo string, d digest.Digest) string {
	return "manifest/" + m.audience + "/" + repo + "@" + string(d)
}

// shareable reports whether the upstream's answer may be shared. Content that it hides from
// anonymous callers stays in this process, which checks rights. So does content that credentials
// fetched, until the upstream was asked without them.
func (m *Mirror) shareable(ctx context.Context, seen *view, a upstream.Answer) bool {
	known := seen.rights(ctx)
	return !known.Hidden && (a.Anonymous || known.within(rightsAge))
}

// shareTag shares the upstream's answer about a tag, and when it was asked; d is empty for a tag
// that does not exist.
func (m *Mirror) shareTag(ctx context.Context, repo, tag string, d digest.Digest, asked time.Time) {
	if m.shared == nil {
		return
	}
	settings := m.settings.Load()
	age := settings.TTL
	if d == "" {
		age = settings.NotFoundTTL
	}
	if value, err := json.Marshal(verdict{Digest: d, Time: asked.UTC()}); err == nil {
		m.shared.Put(ctx, m.tagKey(repo, tag), value, age)
	}
}

// sharedVerdict returns what another process learned about a tag after since, if that is still
// fresh.
func (m *Mirror) sharedVerdict(ctx context.Context, repo, tag string, since time.Time) (v verdict, ok bool) {
	value, ok := m.shared.Get(ctx, m.tagKey(repo, tag))
	if !ok || json.Unmarshal(value, &v) != nil {
		return verdict{}, false
	}
	if at := m.withdrawn(ctx, repo, core.Reference{Tag: tag}); at.After(since) {
		since = at
	}
	settings, now := m.settings.Load(), time.Now()
	if !v.Time.After(since) || v.Time.After(now.Add(clockSkew)) {
		return verdict{}, false
	}
	if v.Digest == "" {
		return v, now.Sub(v.Time) < settings.NotFoundTTL
	}
	if _, err := core.ParseDigest(string(v.Digest)); err != nil {
		return verdict{}, false
	}
	return v, now.Sub(v.Time) < settings.TTL
}

// sharedTag returns what another process learned about a tag a moment ago, so that the upstream
// need not be asked; not ok: there is no such answer. Errors: ErrManifestUnknown when the tag
// does not exist.
func (m *Mirror) sharedTag(ctx context.Context, repo, tag string, held heldTag) (found heldTag, err error) {
	if m.shared == nil {
		return heldTag{}, nil
	}
	v, ok := m.sharedVerdict(ctx, repo, tag, held.checked)
	switch {
	case !ok:
		return heldTag{}, nil
	case v.Digest == "" && held.ok:
		return heldTag{}, nil // a process that holds the tag checks for itself that it is gone
	case v.Digest == "":
		noun := repo + ":" + tag
		m.absent.set(noun, v.Time.Add(m.settings.Load().NotFoundTTL))
		return heldTag{}, fmt.Errorf("%w: %s: %w a moment ago", core.ErrManifestUnknown, noun, upstream.ErrNotFound)
	case held.ok && held.manifest.Descriptor.Digest == v.Digest:
		m.learn(ctx, repo, &lesson{found: held.manifest, tag: tag, at: v.Time})
		return heldTag{manifest: held.manifest, ok: true}, nil
	}
	if found.manifest, err = m.held(ctx, repo, v.Digest); err != nil {
		if found.manifest, ok = m.sharedManifest(ctx, repo, v.Digest); !ok {
			return heldTag{}, nil
		}
		found.from = core.SourceShared
	}
	found.ok = true
	m.learn(ctx, repo, &lesson{found: found.manifest, tag: tag, at: v.Time, fresh: true})
	return found, nil
}

// shareManifest shares a manifest: the time, its media type and its bytes, separated by line
// ends.
func (m *Mirror) shareManifest(ctx context.Context, repo string, found core.Manifest) {
	if m.shared == nil {
		return
	}
	value := time.Now().UTC().AppendFormat(nil, time.RFC3339Nano)
	value = append(append(value, "\n"+found.Descriptor.MediaType+"\n"...), found.Bytes...)
	m.shared.Put(ctx, m.manifestKey(repo, found.Descriptor.Digest), value, sharedManifestAge)
}

// sharedManifest returns a shared manifest, if its bytes match d.
func (m *Mirror) sharedManifest(ctx context.Context, repo string, d digest.Digest) (core.Manifest, bool) {
	if m.shared == nil {
		return core.Manifest{}, false
	}
	value, ok := m.shared.Get(ctx, m.manifestKey(repo, d))
	if !ok {
		return core.Manifest{}, false
	}
	found, learned, err := decodeManifest(value, d)
	if err != nil {
		m.log.Warn("shared manifest is not used", "repository", repo, "digest", d, "error", err)
		return core.Manifest{}, false
	}
	return found, learned.After(m.withdrawn(ctx, repo, core.Reference{Digest: d}))
}

// decodeManifest reads what shareManifest wrote, and when it was learned.
func decodeManifest(value []byte, d digest.Digest) (found core.Manifest, learned time.Time, err error) {
	at, rest, _ := bytes.Cut(value, []byte("\n"))
	if learned, err = time.Parse(time.RFC3339Nano, string(at)); err != nil {
		return core.Manifest{}, time.Time{}, errors.New("it does not say when it was learned")
	}
	mediaType, content, ok := bytes.Cut(rest, []byte("\n"))
	switch {
	case !ok || len(content) > core.MaxManifestSize:
		return core.Manifest{}, learned, errors.New("it is not a manifest")
	case d.Algorithm().FromBytes(content) != d:
		return core.Manifest{}, learned, errors.New("its bytes have another digest")
	}
	doc, err := core.Inspect(content)
	if err == nil {
		err = doc.Ambiguous
	}
	if err == nil && doc.ServedType(string(mediaType)) != string(mediaType) {
		err = errors.New("its media type is not that of its shape")
	}
	if err != nil {
		return core.Manifest{}, learned, err
	}
	return core.Manifest{
		Descriptor: core.Descriptor{MediaType: string(mediaType), Digest: d, Size: int64(len(content))},
		Bytes:      content,
	}, learned, nil
}
