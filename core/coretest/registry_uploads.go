package coretest

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

const uploadRepo = "team/uploads"

// Uploads is the contract of core.Upload.
func Uploads(t *testing.T, open Open) {
	run(t, open, []clause{
		{"chunks continue where the upload ends", func(t *testing.T, f *fixture) {
			up := f.newUpload(digest.SHA256)
			f.append(up, 0, "one ")
			f.append(up, -1, "two ")
			for _, at := range []int64{0, 7, 9, 1 << 40} {
				n, err := up.Append(t.Context(), at, strings.NewReader("elsewhere"))
				wantError(t, "append at a wrong offset", err, core.ErrRangeInvalid)
				if n != 0 || up.Offset() != 8 {
					t.Errorf("after an append at %d: got %d bytes written and offset %d, want none and 8", at, n, up.Offset())
				}
			}
			f.append(up, 8, "three")
			f.commit(up, "one two three")
		}},
		{"an upload is found again by its ID", func(t *testing.T, f *fixture) {
			up := f.newUpload(digest.SHA256)
			f.append(up, 0, "begun ")
			id := up.ID()
			if !regexp.MustCompile(`^[a-z0-9-]{1,64}$`).MatchString(id) {
				t.Errorf("ID %q: want at most 64 of [a-z0-9-]", id)
			}
			if err := up.Close(); err != nil {
				t.Fatal(err)
			}
			again, err := f.fill.Upload(t.Context(), uploadRepo, id)
			if err != nil || again.Offset() != 6 {
				t.Fatalf("found again: got offset and error %v, want 6 bytes", err)
			}
			defer again.Close()
			f.append(again, 6, "and ended")
			f.commit(again, "begun and ended")
			_, err = f.fill.Upload(t.Context(), uploadRepo, id)
			wantError(t, "the ID after the commit", err, core.ErrBlobUploadUnknown)
		}},
		{"an upload is found in its own repository only", func(t *testing.T, f *fixture) {
			up := f.newUpload(digest.SHA256)
			for repo, ids := range map[string][]string{
				"team/other": {up.ID()},
				uploadRepo:   {"", "x", "..", "../" + up.ID(), up.ID() + "0", strings.Repeat("a", 300), "11111111-1111-1111-1111-111111111111"},
			} {
				for _, id := range ids {
					_, err := f.fill.Upload(t.Context(), repo, id)
					wantError(t, "upload "+id+" of "+repo, err, core.ErrBlobUploadUnknown)
				}
			}
		}},
		{"a second writer is refused while the first appends", secondWriter},
		{"bytes that came before the client left are kept", func(t *testing.T, f *fixture) {
			up := f.newUpload(digest.SHA256)
			n, err := up.Append(t.Context(), 0, &errReader{data: []byte("first half, "), err: errGone})
			if n != 12 || up.Offset() != 12 || !errors.Is(err, errGone) {
				t.Fatalf("cut off: got %d bytes, offset %d and error %v, want 12, 12 and the reader's own", n, up.Offset(), err)
			}
			f.append(up, 12, "second half")
			f.commit(up, "first half, second half")
		}},
		{"a wrong digest ends the upload", func(t *testing.T, f *fixture) {
			up := f.newUpload(digest.SHA256)
			f.append(up, 0, "not what was announced")
			_, err := up.Commit(t.Context(), absentDigest("announced"))
			wantError(t, "commit", err, core.ErrDigestInvalid)
			f.wantEnded(up)
			f.wantNoBlob(uploadRepo, absentDigest("announced"))
			f.wantNoBlob(uploadRepo, digest.FromString("not what was announced"))
		}},
		{"a cancelled upload is gone", func(t *testing.T, f *fixture) {
			up := f.newUpload(digest.SHA256)
			f.append(up, 0, "thought better of it")
			if err := up.Cancel(t.Context()); err != nil {
				t.Fatalf("cancel: %v", err)
			}
			f.wantEnded(up)
			f.wantNoBlob(uploadRepo, digest.FromString("thought better of it"))
		}},
		// Clients that do not know digest-algorithm announce sha512 at the end only.
		{"the algorithm may be another at the end", func(t *testing.T, f *fixture) {
			up := f.newUpload(digest.SHA256)
			f.append(up, 0, "late ")
			f.append(up, 5, "choice")
			d := digest.SHA512.FromString("late choice")
			if desc, err := up.Commit(t.Context(), d); err != nil || desc.Digest != d {
				t.Fatalf("commit: got %v and error %v, want %s", desc, err, d)
			}
			f.wantBlob(uploadRepo, d, "late choice")
		}},
		{"an algorithm that is not available is refused", func(t *testing.T, f *fixture) {
			for _, alg := range []digest.Algorithm{"sha384", "md5", ""} {
				_, err := f.fill.NewUpload(t.Context(), uploadRepo, alg)
				wantError(t, "algorithm "+string(alg), err, core.ErrDigestInvalid)
			}
		}},
		{"content that is here already may be sent again", func(t *testing.T, f *fixture) {
			for range 2 {
				up := f.newUpload(digest.SHA256)
				f.append(up, 0, "twice")
				f.commit(up, "twice")
			}
		}},
		{"large content is whole", func(t *testing.T, f *fixture) {
			data := bytes.Repeat([]byte("0123456789abcdef"), 3<<16) // 3 MiB: several buffers of any writer
			up := f.newUpload(digest.SHA512)
			f.append(up, 0, string(data[:1<<20+1]))
			f.append(up, 1<<20+1, string(data[1<<20+1:]))
			d := digest.SHA512.FromBytes(data)
			if _, err := up.Commit(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			f.wantBlob(uploadRepo, d, string(data))
		}},
	})
}

func (f *fixture) newUpload(alg digest.Algorithm) core.Upload {
	f.Helper()
	up, err := f.fill.NewUpload(f.Context(), uploadRepo, alg)
	if err != nil {
		f.Fatalf("new upload: %v", err)
	}
	f.Cleanup(func() { up.Close() })
	if up.Offset() != 0 {
		f.Errorf("offset of a new upload: got %d, want 0", up.Offset())
	}
	return up
}

func (f *fixture) append(up core.Upload, at int64, data string) {
	f.Helper()
	before := up.Offset()
	n, err := up.Append(f.Context(), at, strings.NewReader(data))
	if err != nil || n != int64(len(data)) || up.Offset() != before+n {
		f.Fatalf("append %d bytes at %d: got %d, offset %d and error %v", len(data), at, n, up.Offset(), err)
	}
}

func (f *fixture) commit(up core.Upload, data string) {
	f.Helper()
	d := digest.FromString(data)
	desc, err := up.Commit(f.Context(), d)
	if err != nil || desc.Digest != d || desc.Size != int64(len(data)) {
		f.Fatalf("commit: got %v and error %v, want %s of %d bytes", desc, err, d, len(data))
	}
	f.wantBlob(uploadRepo, d, data)
}

func (f *fixture) wantEnded(up core.Upload) {
	f.Helper()
	if _, err := f.fill.Upload(f.Context(), uploadRepo, up.ID()); err == nil {
		f.Errorf("upload %s: is found, want it to have ended", up.ID())
	} else {
		wantError(f, "the ended upload", err, core.ErrBlobUploadUnknown)
	}
	if err := up.Close(); err != nil {
		f.Errorf("close of an ended upload: %v", err)
	}
}

// secondWriter holds one writer in the middle of its bytes.
func secondWriter(t *testing.T, f *fixture) {
	up := f.newUpload(digest.SHA256)
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := up.Append(f.Context(), 0, r)
		done <- err
	}()
	if _, err := io.WriteString(w, "first "); err != nil { // returns when the writer has read it
		t.Fatal(err)
	}
	second, err := f.fill.Upload(f.Context(), uploadRepo, up.ID())
	if err != nil {
		t.Fatalf("second handle: %v", err)
	}
	defer second.Close()
	for _, at := range []int64{-1, 0, second.Offset()} {
		_, err = second.Append(f.Context(), at, strings.NewReader("intruder"))
		wantError(t, "append by a second writer", err, core.ErrRangeInvalid)
	}
	if _, err := second.Commit(f.Context(), digest.FromString("first ")); err == nil {
		t.Error("commit while another appends: no error")
	}
	if _, err := io.WriteString(w, "writer"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := <-done; err != nil {
		t.Fatalf("first writer: %v", err)
	}
	f.commit(up, "first writer")
}
