package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// wherever is the offset for core.Upload.Append of a chunk without Content-Range.
const wherever = -1

// startUpload answers end-4a, end-4b, end-4c and end-11.
func (e *exchange) startUpload() error {
	ctx := e.r.Context()
	if e.req.Mount != "" {
		desc, err := e.reg.Mount(ctx, e.req.Repo, e.req.From, e.req.Mount)
		if err == nil {
			e.blobCreated(desc.Digest)
			return nil
		}
		if !mountless(err) {
			return fmt.Errorf("mount %s: %w", e.req.Mount, err)
		}
	}
	upload, err := e.reg.NewUpload(ctx, e.req.Repo, e.req.DigestAlgorithm)
	if err != nil {
		return err
	}
	defer upload.Close()
	if e.req.Digest != "" {
		return e.wholeUpload(upload)
	}
	e.uploadAnswer(http.StatusAccepted, upload)
	return nil
}

// mountless reports whether the client may upload the blob instead after this error of
// a mount (spec.md, end-11: 202). A client that may not read the other repository may;
// whether it may write to this one is decided when the upload begins.
func mountless(err error) bool {
	for _, target := range []error{
		core.ErrBlobUnknown, core.ErrNameUnknown, core.ErrDenied, core.ErrUnauthorized, core.ErrUnsupported,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// wholeUpload answers end-4b. The client never learned the upload's ID, so bytes that
// could not become a blob are dropped at once, also when the client is gone.
func (e *exchange) wholeUpload(upload core.Upload) error {
	ctx := e.r.Context()
	err := e.append(upload)
	if err == nil {
		_, err = upload.Commit(ctx, e.req.Digest)
	}
	if err != nil {
		if cancelErr := upload.Cancel(context.WithoutCancel(ctx)); cancelErr != nil && !errors.Is(cancelErr, core.ErrBlobUploadUnknown) {
			return fmt.Errorf("%w (and the upload was not dropped: %v)", err, cancelErr)
		}
		return err
	}
	e.blobCreated(e.req.Digest)
	return nil
}

// patchUpload answers end-5.
func (e *exchange) patchUpload() error {
	upload, err := e.reg.Upload(e.r.Context(), e.req.Repo, e.req.UploadID)
	if err != nil {
		return err
	}
	defer upload.Close()
	if err := e.append(upload); err != nil {
		return e.uploadError(upload, err)
	}
	e.uploadAnswer(http.StatusAccepted, upload)
	return nil
}

// putUpload answers end-6. Docker, containerd and others send the last PUT without a
// body, after all bytes.
func (e *exchange) putUpload() error {
	upload, err := e.reg.Upload(e.r.Context(), e.req.Repo, e.req.UploadID)
	if err != nil {
		return err
	}
	defer upload.Close()
	if e.r.ContentLength != 0 || e.r.Header.Get("Content-Range") != "" {
		if err := e.append(upload); err != nil {
			return e.uploadError(upload, err)
		}
	}
	desc, err := upload.Commit(e.r.Context(), e.req.Digest)
	if err != nil {
		return e.uploadError(upload, err)
	}
	e.blobCreated(desc.Digest)
	return nil
}

// uploadStatus answers end-13.
func (e *exchange) uploadStatus() error {
	upload, err := e.reg.Upload(e.r.Context(), e.req.Repo, e.req.UploadID)
	if err != nil {
		return err
	}
	defer upload.Close()
	e.uploadAnswer(http.StatusNoContent, upload)
	return nil
}

// cancelUpload answers end-14.
func (e *exchange) cancelUpload() error {
	upload, err := e.reg.Upload(e.r.Context(), e.req.Repo, e.req.UploadID)
	if err != nil {
		return err
	}
	defer upload.Close()
	if err := upload.Cancel(e.r.Context()); err != nil {
		return err
	}
	e.writeHeader(http.StatusNoContent)
	return nil
}

// uploadAnswer says where an upload continues, and how much of it is held.
func (e *exchange) uploadAnswer(status int, upload core.Upload) {
	e.setUpload(upload)
	e.set("Cache-Control", "no-store")
	e.writeHeader(status)
}

// uploadError returns the upload's size to a client whose chunk came out of order, or
// beside another writer's, so that it can resume without asking.
func (e *exchange) uploadError(upload core.Upload, err error) error {
	if errors.Is(err, core.ErrRangeInvalid) {
		e.setUpload(upload)
	}
	return err
}

// setUpload sets the fields of an upload. Range names the last byte, so it cannot
// express an empty upload: that has `0-0`, as in Docker's registry, which its clients
// know.
func (e *exchange) setUpload(upload core.Upload) {
	id := upload.ID()
	e.set("Location", e.location("blobs/uploads/"+id, nil))
	e.set("Range", "0-"+strconv.FormatInt(max(upload.Offset()-1, 0), 10))
	e.set("Docker-Upload-Uuid", id)
}

// blobCreated ends a push of a blob.
func (e *exchange) blobCreated(d digest.Digest) {
	e.set("Location", e.location("blobs/"+string(d), nil))
	e.set("Docker-Content-Digest", string(d))
	e.writeHeader(http.StatusCreated)
}
