package wire

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// blob answers end-2. HEAD, and a request of a client that already has the blob, do
// not open it.
func (e *exchange) blob() error {
	tag := etag(e.req.Digest)
	match := e.r.Header.Get("If-None-Match")
	known := match != "" && matches(match, tag)
	if e.r.Method != http.MethodHead && !known {
		return e.getBlob(tag)
	}
	desc, err := e.reg.Stat(e.context(), e.req.Repo, e.req.Digest)
	if err != nil {
		return err
	}
	e.beginBlob(tag)
	if known {
		e.writeHeader(http.StatusNotModified)
		return nil
	}
	e.set("Content-Type", "application/octet-stream")
	if desc.Size >= 0 {
		e.set("Accept-Ranges", "bytes")
		e.set("Content-Length", strconv.FormatInt(desc.Size, 10))
	}
	e.writeHeader(http.StatusOK)
	return nil
}

func (e *exchange) beginBlob(tag string) {
	e.set("Etag", tag)
	e.set("Docker-Content-Digest", tag[1:len(tag)-1])
	e.set("Cache-Control", e.cacheControl(true))
}

func (e *exchange) getBlob(tag string) error {
	blob, err := e.reg.Blob(e.context(), e.req.Repo, e.req.Digest)
	if err != nil {
		return err
	}
	defer blob.Close()
	size := blob.Descriptor().Size
	part, status := span{0, size}, http.StatusOK
	seeker, seekable := blob.(io.Seeker)
	seekable = seekable && size >= 0
	if field := e.r.Header.Get("Range"); field != "" && seekable && e.rangeApplies(tag) {
		var partial bool
		if part, partial, err = parseRange(field, size); err != nil {
			e.set("Content-Range", "bytes */"+strconv.FormatInt(size, 10))
			return err
		}
		if partial {
			status = http.StatusPartialContent
		}
	}
	if part.start > 0 {
		if _, err := seeker.Seek(part.start, io.SeekStart); err != nil {
			return fmt.Errorf("seek in %s: %w", e.req.Digest, err)
		}
	}
	if bounded, ok := blob.(interface{ Until(end int64) }); ok && status == http.StatusPartialContent {
		bounded.Until(part.start + part.length) // so that a mirror asks for no more
	}
	e.beginBlob(tag)
	e.set("Content-Type", "application/octet-stream")
	if seekable {
		e.set("Accept-Ranges", "bytes")
	}
	if status == http.StatusPartialContent {
		e.set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", part.start, part.start+part.length-1, size))
	}
	if size >= 0 {
		e.set("Content-Length", strconv.FormatInt(part.length, 10))
	}
	e.writeHeader(status)
	e.stream(blob, part, size)
	return nil
}

// rangeApplies evaluates If-Range (RFC 9110, 13.1.5): a range of a different blob than
// the client has would be appended to the wrong bytes. We send no dates, so none
// matches.
func (e *exchange) rangeApplies(tag string) bool {
	condition := e.r.Header.Get("If-Range")
	return condition == "" || condition == tag
}

// deleteBlob answers end-10.
func (e *exchange) deleteBlob() error {
	if err := e.reg.DeleteBlob(e.r.Context(), e.req.Repo, e.req.Digest); err != nil {
		return err
	}
	e.writeHeader(http.StatusAccepted)
	return nil
}
