package wire

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// memory is a Registry in memory: just enough of one to see, through HTTP, that
// the right method was called with the right arguments. fail has the errors that a
// row of a test wants, by the method's name.
type memory struct {
	core.Unimplemented

	mu        sync.Mutex // guards all below
	manifests map[string]core.Manifest
	tags      map[string]map[string]digest.Digest
	blobs     map[string][]byte
	uploads   map[string]*memoryUpload
	referrers []core.Descriptor
	repos     []string
	fail      map[string]error
	// open replaces what Blob returns.
	open func(core.Descriptor, []byte) core.Blob
	last string // the arguments of the last Mount or NewUpload
}

func newMemory() *memory {
	return &memory{
		manifests: map[string]core.Manifest{},
		tags:      map[string]map[string]digest.Digest{},
		blobs:     map[string][]byte{},
		uploads:   map[string]*memoryUpload{},
		fail:      map[string]error{},
	}
}

func (m *memory) putBlob(repo string, data []byte) digest.Digest {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := digest.FromBytes(data)
	m.blobs[repo+"@"+string(d)] = data
	return d
}

func (m *memory) Resolve(ctx context.Context, repo string, ref core.Reference) (core.Descriptor, error) {
	found, err := m.Manifest(ctx, repo, ref)
	return found.Descriptor, err
}

func (m *memory) Manifest(_ context.Context, repo string, ref core.Reference) (core.Manifest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail["Manifest"]; err != nil {
		return core.Manifest{}, err
	}
	if m.tags[repo] == nil {
		return core.Manifest{}, core.ErrNameUnknown
	}
	d := ref.Digest
	if ref.Tag != "" {
		d = m.tags[repo][ref.Tag]
	}
	found, ok := m.manifests[repo+"@"+string(d)]
	if !ok {
		return core.Manifest{}, core.ErrManifestUnknown
	}
	return found, nil
}

func (m *memory) Stat(_ context.Context, repo string, d digest.Digest) (core.Descriptor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.blobs[repo+"@"+string(d)]
	if !ok {
		return core.Descriptor{}, cmp.Or(m.fail["Stat"], error(core.ErrBlobUnknown))
	}
	return core.Descriptor{Digest: d, Size: int64(len(data))}, m.fail["Stat"]
}

func (m *memory) Blob(ctx context.Context, repo string, d digest.Digest) (core.Blob, error) {
	desc, err := m.Stat(ctx, repo, d)
	if err != nil {
		return nil, err
	}
	data := m.blobs[repo+"@"+string(d)]
	if m.open != nil {
		return m.open(desc, data), nil
	}
	return &seekableBlob{bytes.NewReader(data), desc}, nil
}

type seekableBlob struct {
	*bytes.Reader
	desc core.Descriptor
}

func (b *seekableBlob) Descriptor() core.Descriptor { return b.desc }
func (b *seekableBlob) Close() error                { return nil }

// streamBlob cannot seek.
type streamBlob struct {
	io.Reader
	desc core.Descriptor
}

func (b *streamBlob) Descriptor() core.Descriptor { return b.desc }
func (b *streamBlob) Close() error                { return nil }

func (m *memory) PutManifest(_ context.Context, repo string, put core.ManifestPut) (core.ManifestResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail["PutManifest"]; err != nil {
		return core.ManifestResult{}, err
	}
	doc, err := core.Inspect(put.Bytes)
	if err == nil {
		err = doc.CheckPush(put.MediaType)
	}
	if err != nil {
		return core.ManifestResult{}, err
	}
	d := digest.FromBytes(put.Bytes)
	if put.Digest != "" {
		if d = put.Digest.Algorithm().FromBytes(put.Bytes); d != put.Digest {
			return core.ManifestResult{}, core.ErrDigestInvalid
		}
	}
	desc := core.Descriptor{MediaType: put.MediaType, Digest: d, Size: int64(len(put.Bytes))}
	m.manifests[repo+"@"+string(d)] = core.Manifest{Descriptor: desc, Bytes: put.Bytes}
	if m.tags[repo] == nil {
		m.tags[repo] = map[string]digest.Digest{}
	}
	result := core.ManifestResult{Descriptor: desc, Subject: doc.SubjectDigest()}
	for _, tag := range put.Tags {
		if m.fail["tag "+tag] != nil {
			result.Refused = append(result.Refused, m.fail["tag "+tag])
			continue
		}
		m.tags[repo][tag] = d
		result.Tags = append(result.Tags, tag)
	}
	if len(result.Tags) == 0 && len(result.Refused) > 0 {
		return core.ManifestResult{}, result.Refused[0]
	}
	return result, nil
}

func (m *memory) Mount(_ context.Context, repo, from string, d digest.Digest) (core.Descriptor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = fmt.Sprintf("mount %s from %q in %s", d, from, repo)
	if err := m.fail["Mount"]; err != nil {
		return core.Descriptor{}, err
	}
	data, ok := m.blobs[from+"@"+string(d)]
	if !ok {
		return core.Descriptor{}, core.ErrBlobUnknown
	}
	m.blobs[repo+"@"+string(d)] = data
	return core.Descriptor{Digest: d, Size: int64(len(data))}, nil
}

func (m *memory) NewUpload(_ context.Context, repo string, alg digest.Algorithm) (core.Upload, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = fmt.Sprintf("upload %s to %s", alg, repo)
	if err := m.fail["NewUpload"]; err != nil {
		return nil, err
	}
	u := &memoryUpload{m: m, repo: repo, id: fmt.Sprintf("upload-%d", len(m.uploads)+1)}
	m.uploads[u.id] = u
	return u, nil
}

func (m *memory) Upload(_ context.Context, repo, id string) (core.Upload, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, ok := m.uploads[id]
	if !ok || u.repo != repo {
		return nil, core.ErrBlobUploadUnknown
	}
	return u, nil
}

type memoryUpload struct {
	m        *memory
	repo, id string
	data     bytes.Buffer
}

func (u *memoryUpload) ID() string    { return u.id }
func (u *memoryUpload) Offset() int64 { return int64(u.data.Len()) }
func (u *memoryUpload) Close() error  { return nil }

func (u *memoryUpload) Append(_ context.Context, at int64, r io.Reader) (int64, error) {
	if err := u.m.fail["Append"]; err != nil {
		return 0, err
	}
	if at >= 0 && at != u.Offset() {
		return 0, core.ErrRangeInvalid
	}
	return u.data.ReadFrom(r)
}

func (u *memoryUpload) Commit(_ context.Context, d digest.Digest) (core.Descriptor, error) {
	u.m.mu.Lock()
	defer u.m.mu.Unlock()
	if err := u.m.fail["Commit"]; err != nil {
		return core.Descriptor{}, err
	}
	delete(u.m.uploads, u.id)
	data := bytes.Clone(u.data.Bytes())
	if d.Algorithm().FromBytes(data) != d {
		return core.Descriptor{}, core.ErrDigestInvalid
	}
	u.m.blobs[u.repo+"@"+string(d)] = data
	return core.Descriptor{Digest: d, Size: int64(len(data))}, nil
}

func (u *memoryUpload) Cancel(context.Context) error {
	u.m.mu.Lock()
	defer u.m.mu.Unlock()
	delete(u.m.uploads, u.id)
	return u.m.fail["Cancel"]
}

func (m *memory) DeleteTag(_ context.Context, repo, tag string) error {
	if _, ok := m.tags[repo][tag]; !ok {
		return core.ErrManifestUnknown
	}
	delete(m.tags[repo], tag)
	return nil
}

func (m *memory) DeleteManifest(_ context.Context, repo string, d digest.Digest) error {
	if _, ok := m.manifests[repo+"@"+string(d)]; !ok {
		return core.ErrManifestUnknown
	}
	delete(m.manifests, repo+"@"+string(d))
	return nil
}

func (m *memory) DeleteBlob(_ context.Context, repo string, d digest.Digest) error {
	if err := m.fail["DeleteBlob"]; err != nil {
		return err
	}
	if _, ok := m.blobs[repo+"@"+string(d)]; !ok {
		return core.ErrBlobUnknown
	}
	delete(m.blobs, repo+"@"+string(d))
	return nil
}

func (m *memory) Repositories(_ context.Context, after string) iter.Seq2[string, error] {
	return behind(m.repos, after, m.fail["Repositories"])
}

func (m *memory) Tags(_ context.Context, repo, after string) iter.Seq2[string, error] {
	if m.tags[repo] == nil {
		return core.Fail[string](core.ErrNameUnknown)
	}
	return behind(slices.Sorted(maps.Keys(m.tags[repo])), after, m.fail["Tags"])
}

// behind yields the entries after after, and then err if there is one.
func behind(entries []string, after string, err error) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, entry := range entries {
			if entry > after && !yield(entry, nil) {
				return
			}
		}
		if err != nil {
			yield("", err)
		}
	}
}

func (m *memory) Referrers(_ context.Context, _ string, _ digest.Digest, artifactType string, after digest.Digest) iter.Seq2[core.Descriptor, error] {
	return func(yield func(core.Descriptor, error) bool) {
		for _, desc := range m.referrers {
			if desc.Digest > after && (artifactType == "" || desc.ArtifactType == artifactType) && !yield(desc, nil) {
				return
			}
		}
		if err := m.fail["Referrers"]; err != nil {
			yield(core.Descriptor{}, err)
		}
	}
}

var errDisk = errors.New("/var/lib/registry/blobs: input/output error")
