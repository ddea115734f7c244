package clients

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// forms are the kinds of images that every copying client must transfer without changing a
// byte.
var forms = []struct {
	name       string
	oci, multi bool
}{
	{"an OCI image", true, false},
	{"a Docker schema 2 image", false, false},
	{"an OCI index", true, true},
	{"a Docker manifest list", false, true},
}

// copier is one client's way to move images.
type copier struct {
	push   func(t *testing.T, h home, of digested, ref string)
	copy   func(t *testing.T, h home, from, to string) // within the registry
	pull   func(t *testing.T, h home, ref, dir string) // into a new directory
	remove func(t *testing.T, h home, ref string, d digest.Digest)
}

// carries runs the copier over every form.
func (c copier) carries(t *testing.T) {
	r := start(t)
	for i, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			h := newHome(t)
			of := content(t, form.oci, form.multi)
			want := digestOf(t, of)
			name := fmt.Sprintf("team/app%d", i)
			c.push(t, h, of, r.ref(name+":v1"))
			r.holds(t, name, "v1", want)
			c.copy(t, h, r.ref(name+":v1"), r.ref(name+"/copy:v2"))
			r.holds(t, name+"/copy", "v2", want)
			c.pull(t, h, r.ref(name+"/copy:v2"), h.path("back"))
			directoryHolds(t, h.path("back"), want)
			c.remove(t, h, r.ref(name+"/copy:v2"), want)
			r.lacks(t, name+"/copy", "v2")
			r.lacks(t, name+"/copy", want.String())
			r.holds(t, name, "v1", want)
		})
	}
}

func TestSkopeo(t *testing.T) {
	move := func(t *testing.T, h home, from, to string) {
		h.run(t, "skopeo", "--insecure-policy", "copy", "--all", "--preserve-digests",
			"--src-tls-verify=false", "--dest-tls-verify=false", from, to)
	}
	copier{
		// A directory and not a layout: in that skopeo knows no types but OCI's.
		push: func(t *testing.T, h home, of digested, ref string) {
			move(t, h, "dir:"+writeDirectory(t, of), "docker://"+ref)
		},
		copy: func(t *testing.T, h home, from, to string) { move(t, h, "docker://"+from, "docker://"+to) },
		pull: func(t *testing.T, h home, ref, dir string) { move(t, h, "docker://"+ref, "dir:"+dir) },
		remove: func(t *testing.T, h home, ref string, _ digest.Digest) {
			h.run(t, "skopeo", "delete", "--tls-verify=false", "docker://"+ref)
		},
	}.carries(t)
}

func TestCrane(t *testing.T) {
	copier{
		push: func(t *testing.T, h home, of digested, ref string) {
			h.run(t, "crane", "push", writeLayout(t, of), ref)
		},
		copy: func(t *testing.T, h home, from, to string) { h.run(t, "crane", "copy", from, to) },
		pull: func(t *testing.T, h home, ref, dir string) {
			h.run(t, "crane", "pull", "--format", "oci", ref, dir)
		},
		remove: func(t *testing.T, h home, ref string, d digest.Digest) {
			repo, _, _ := strings.Cut(ref, ":v2")
			h.run(t, "crane", "delete", repo+"@"+d.String())
		},
	}.carries(t)
}

func TestOras(t *testing.T) {
	copier{
		push: func(t *testing.T, h home, of digested, ref string) {
			h.run(t, "oras", "cp", "--from-oci-layout", "--to-plain-http", writeLayout(t, of)+":v1", ref)
		},
		copy: func(t *testing.T, h home, from, to string) {
			h.run(t, "oras", "cp", "--from-plain-http", "--to-plain-http", from, to)
		},
		pull: func(t *testing.T, h home, ref, dir string) {
			h.run(t, "oras", "cp", "--from-plain-http", "--to-oci-layout", ref, dir+":v2")
		},
		remove: func(t *testing.T, h home, ref string, _ digest.Digest) {
			h.run(t, "oras", "manifest", "delete", "--force", "--plain-http", ref)
		},
	}.carries(t)
}

func TestRegctl(t *testing.T) {
	plain := func(t *testing.T, h home, ref string, args ...string) {
		host, _, _ := strings.Cut(ref, "/")
		h.run(t, "regctl", append([]string{"--host", "reg=" + host + ",tls=disabled"}, args...)...)
	}
	copier{
		push: func(t *testing.T, h home, of digested, ref string) {
			plain(t, h, ref, "image", "copy", "ocidir://"+writeLayout(t, of)+":v1", ref)
		},
		copy: func(t *testing.T, h home, from, to string) { plain(t, h, to, "image", "copy", from, to) },
		pull: func(t *testing.T, h home, ref, dir string) {
			plain(t, h, ref, "image", "copy", ref, "ocidir://"+dir+":v2")
		},
		remove: func(t *testing.T, h home, ref string, _ digest.Digest) {
			plain(t, h, ref, "manifest", "delete", "--force-tag-dereference", ref)
		},
	}.carries(t)
}

// directoryHolds fails the test unless a directory that a client wrote, a layout or
// skopeo's own form, has a file of the digest. Every file that is named by a digest
// is verified.
func directoryHolds(t *testing.T, dir string, want digest.Digest) {
	t.Helper()
	held := map[digest.Digest]bool{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		d := digest.FromBytes(content)
		held[d] = true
		// Content must match its digest.
		name, _, _ := strings.Cut(entry.Name(), ".")
		if named := digest.NewDigestFromEncoded(digest.SHA256, name); named.Validate() == nil && named != d {
			return fmt.Errorf("%s has content %s", path, d)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !held[want] {
		t.Errorf("%s is not among the %d files of %s", want, len(held), dir)
	}
}
