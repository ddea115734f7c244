package wire

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/eblume/caddy-registry/core"
)

// manifest answers end-3. A client that already has it gets only its headers.
func (e *exchange) manifest() error {
	var m core.Manifest
	var err error
	ctx := e.context()
	if e.r.Method == http.MethodHead {
		m.Descriptor, err = e.reg.Resolve(ctx, e.req.Repo, e.req.Ref)
	} else {
		var release func()
		if m, release, err = e.loadManifest(ctx); err == nil {
			defer release()
		}
	}
	if err != nil {
		return err
	}
	e.warn()
	tag := etag(m.Descriptor.Digest)
	e.set("Etag", tag)
	e.set("Docker-Content-Digest", tag[1:len(tag)-1])
	e.set("Cache-Control", e.cacheControl(e.req.Ref.Digest != ""))
	if match := e.r.Header.Get("If-None-Match"); match != "" && matches(match, tag) {
		e.writeHeader(http.StatusNotModified)
		return nil
	}
	// Content from strangers is never served as a web page, whatever a registry returns.
	e.set("Content-Type", core.ServableType(m.Descriptor.MediaType))
	if e.r.Method == http.MethodHead {
		e.set("Content-Length", strconv.FormatInt(m.Descriptor.Size, 10))
		e.writeHeader(http.StatusOK)
		return nil
	}
	if len(m.Bytes) > shortBody {
		e.set("Content-Length", strconv.Itoa(len(m.Bytes)))
	}
	e.writeHeader(http.StatusOK)
	e.write(m.Bytes)
	return nil
}

// shortBody is the size in bytes up to which net/http itself adds Content-Length to an answer
// that is written at once. Behind Caddy, which adds Server, the field would be the ninth. A
// map with more than eight entries takes six more allocations: it grows, and net/http copies
// it.
const shortBody = 2048

// largeManifest is the size from which the bytes of a manifest are reserved while they
// are sent. Nearly all manifests are smaller, and a client needs a connection for each.
const largeManifest = 256 << 10

// loadManifest reads the manifest that a GET asks for. A large one first waits for its
// share of the memory that slow readers may occupy, and is not in memory meanwhile.
func (e *exchange) loadManifest(ctx context.Context) (m core.Manifest, release func(), err error) {
	m, err = e.reg.Manifest(ctx, e.req.Repo, e.req.Ref)
	size := int64(len(m.Bytes))
	if err != nil || size <= largeManifest {
		return m, func() {}, err
	}
	release, ok := e.opts.Sent.TryAcquire(e.opts.Caller.Principal(), size)
	if ok {
		return m, release, nil
	}
	m = core.Manifest{}
	if release, err = e.opts.Sent.Acquire(ctx, e.opts.Caller.Principal(), size); err != nil {
		return m, nil, err
	}
	if m, err = e.reg.Manifest(ctx, e.req.Repo, e.req.Ref); err != nil {
		release()
	}
	return m, release, err
}

// warn adds the registry's warnings (spec.md, "Warnings").
func (e *exchange) warn() {
	for _, text := range e.notes.Warnings() {
		e.header.Add("Warning", "299 - "+strconv.Quote(text))
	}
}

// putManifest answers end-7a and end-7b.
func (e *exchange) putManifest() error {
	// This comes before the first byte: the body of a caller who may not push is not
	// read.
	if err := core.AdmitManifest(e.r.Context(), e.reg, e.req.Repo); err != nil {
		return err
	}
	mediaType, err := core.ParseMediaType(e.r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	data, release, err := e.readManifest()
	if err != nil {
		return err
	}
	defer release()
	put := core.ManifestPut{
		MediaType: mediaType,
		Bytes:     data,
		Digest:    e.req.Ref.Digest,
		Tags:      e.req.Tags,
	}
	if tag := e.req.Ref.Tag; tag != "" {
		put.Tags = append([]string{tag}, withoutTag(put.Tags, tag)...)
	}
	result, err := e.reg.PutManifest(e.r.Context(), e.req.Repo, put)
	if err != nil {
		return err
	}
	for _, refused := range result.Refused {
		_, status := classify(e.r, refused)
		e.log(status, refused)
	}
	e.set("Location", e.location("manifests/"+string(result.Descriptor.Digest), nil))
	e.set("Docker-Content-Digest", string(result.Descriptor.Digest))
	if result.Subject != "" {
		e.set("Oci-Subject", string(result.Subject))
	}
	if len(e.req.Tags) > 0 && len(result.Tags) > 0 {
		e.set("Oci-Tag", strings.Join(result.Tags, ", "))
	}
	e.writeHeader(http.StatusCreated)
	return nil
}

func withoutTag(tags []string, tag string) []string {
	kept := make([]string, 0, len(tags))
	for _, t := range tags {
		if t != tag {
			kept = append(kept, t)
		}
	}
	return kept
}

// deleteManifest answers end-9: a tag alone, or a manifest with all its tags.
func (e *exchange) deleteManifest() error {
	var err error
	if e.req.Ref.Tag != "" {
		err = e.reg.DeleteTag(e.r.Context(), e.req.Repo, e.req.Ref.Tag)
	} else {
		err = e.reg.DeleteManifest(e.r.Context(), e.req.Repo, e.req.Ref.Digest)
	}
	if err != nil {
		return err
	}
	e.writeHeader(http.StatusAccepted)
	return nil
}
