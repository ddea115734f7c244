package mirror_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// whatIsWrong reads everything and says what came that is not right. With errors, an
// error is not right either.
func (f *fixture) whatIsWrong(errors bool, tags ...string) (wrong []string) {
	note := func(what string, err error, right bool) {
		if err != nil && errors || err == nil && !right {
			wrong = append(wrong, fmt.Sprintf("%s: %v", what, err))
		}
	}
	want := document(len(layer))
	for _, ref := range []core.Reference{latest, {Digest: f.image}} {
		m, err := f.Manifest(fetch, repo, ref)
		note("manifest "+ref.String(), err, bytes.Equal(m.Bytes, want) && m.Descriptor.MediaType == ocispec.MediaTypeImageManifest)
	}
	desc, err := f.Stat(fetch, repo, f.blob)
	note("head of the blob", err, desc.Size == int64(len(layer)))
	blob, err := read(f, fetch, repo, f.blob)
	note("blob", err, bytes.Equal(blob, layer))
	got, err := list(f.Tags(fetch, repo, ""))
	note("tags", err, slices.Equal(got, tags) || !errors && slices.Equal(got, []string{"latest"}))
	referrers, err := list(f.Referrers(fetch, repo, f.image, "", ""))
	note("referrers", err, len(referrers) == 1 && referrers[0].Digest == digest.FromString("x"))
	return wrong
}

// pulled is a mirror that holds an image with all that there is beside it.
func pulled(t *testing.T) (f *fixture, tags []string) {
	t.Helper()
	f = start(t, mirror.Settings{TTL: 24 * time.Hour})
	f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, document(len(layer)), "unpulled")
	f.up.Fault(upstreamtest.Fault{Path: "/referrers/", Status: 200, Header: http.Header{"Content-Type": {ocispec.MediaTypeImageIndex}},
		Body: fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":3}]}`, ocispec.MediaTypeImageManifest, digest.FromString("x"))})
	tags = []string{"latest", "unpulled"}
	if wrong := f.whatIsWrong(true, tags...); wrong != nil {
		t.Fatal(wrong)
	}
	synctest.Wait()
	return f, tags
}

// A file of a mirror is damaged in any way, while it serves or before it starts: with its
// upstream all answers are right, and the disk is repaired; without it there is an error and
// never other content. A flipped bit in a blob of the right length is found only by a
// verification, because blobs are not hashed when they are served.
func TestDamageToAMirrorIsNotHeld(t *testing.T) {
	damages := map[string]func(data []byte) []byte{
		"a bit in the middle flipped":      func(data []byte) []byte { data[len(data)/2] ^= 4; return data },
		"a bit of the last byte flipped":   func(data []byte) []byte { data[len(data)-1] ^= 16; return data },
		"cut by a byte":                    func(data []byte) []byte { return data[:len(data)-1] },
		"cut in the middle":                func(data []byte) []byte { return data[:len(data)/2] },
		"emptied":                          func(data []byte) []byte { return nil },
		"overwritten with another's bytes": func(data []byte) []byte { return []byte(`{"digest":"sha256:00","time":"2026-01-01T00:00:00Z"}`) },
		"removed":                          nil,
	}
	var kinds []string
	synctest.Test(t, func(t *testing.T) {
		f, _ := pulled(t)
		for _, file := range f.files(t) {
			name, err := filepath.Rel(f.path, file)
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, name)
		}
	})
	if len(kinds) < 8 {
		t.Fatalf("there are %q", kinds)
	}
	for _, file := range kinds {
		for name, damage := range damages {
			for _, serving := range []bool{true, false} {
				flipped := strings.HasSuffix(file, digest.FromBytes(layer).Encoded()) && strings.Contains(name, "flipped")
				t.Run(fmt.Sprintf("%s %s, serving %t", file, name, serving), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						f, tags := pulled(t)
						check := func(when string, errors bool) {
							t.Helper()
							wrong := f.whatIsWrong(errors, tags...)
							if flipped {
								wrong = slices.DeleteFunc(wrong, func(what string) bool { return strings.HasPrefix(what, "blob") })
							}
							if len(wrong) > 0 {
								t.Errorf("%s: %q", when, wrong)
							}
							synctest.Wait()
						}
						if !serving {
							f.stop()
						}
						path := filepath.Join(f.path, file)
						data, err := os.ReadFile(path)
						if err == nil && damage == nil {
							err = os.Remove(path)
						} else if err == nil && len(data) > 0 { // an empty file has many names
							err = os.WriteFile(path, damage(data), 0o600)
						}
						if err != nil {
							t.Fatal(err)
						}
						f.network.Refuse(f.up.Registry, true)
						if !serving {
							f.open(t, f.settings)
						}
						check("upstream down", false)
						f.network.Refuse(f.up.Registry, false)
						time.Sleep(time.Minute)
						check("upstream healthy", true)
						if serving {
							return // memory has some of it
						}
						f.network.Refuse(f.up.Registry, true)
						f.restart(t)
						check("put right, after a restart", true)
					})
				})
			}
		}
	}
}

// Damaged content can be purged, by tag, by digest and as a whole, and is fetched again.
func TestDamageCanBePurged(t *testing.T) {
	for _, ref := range []string{"", "latest", "digest"} {
		for _, content := range []string{"", "x", "gone"} {
			t.Run(fmt.Sprintf("%q, content %q", ref, content), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, tags := pulled(t)
					f.stop()
					for _, file := range f.files(t) {
						info, err := os.Stat(file)
						switch {
						case err != nil:
						case content == "gone" && strings.HasSuffix(file, f.image.Encoded()):
							err = os.Remove(file)
						case content != "gone" && info.Size() > 0:
							err = os.WriteFile(file, []byte(content), 0o600)
						}
						if err != nil {
							t.Fatal(err)
						}
					}
					f.open(t, f.settings)
					what := map[string]core.Reference{"latest": latest, "digest": {Digest: f.image}}[ref]
					if _, err := f.Purge(fetch, repo, what); err != nil {
						t.Error(err)
					}
					if wrong := f.whatIsWrong(true, tags...); wrong != nil {
						t.Error(wrong)
					}
				})
			})
		}
	}
}

// A download that was interrupted goes on from what is here, if that is what it was.
func TestADamagedDownloadIsBegunAnew(t *testing.T) {
	for _, row := range []struct {
		name   string
		damage func(data []byte) []byte // of the bytes; nil: of the record
		tries  int
	}{
		{"cut", func(data []byte) []byte { return data[:1000] }, 1},
		{"emptied", func(data []byte) []byte { return nil }, 1},
		{"longer than the blob", func(data []byte) []byte { return append(bytes.Clone(layer), data...) }, 1},
		{"as long as the blob", func([]byte) []byte { return bytes.Repeat([]byte("x"), len(layer)) }, 2},
		{"a bit flipped", func(data []byte) []byte { data[100] ^= 1; return data }, 2},
		{"its record", nil, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				x := f.up.Fault(upstreamtest.Fault{Path: "/blobs/", Stall: true, After: 300_000})
				b, err := f.Blob(fetch, repo, f.blob)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := b.Read(make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				f.stop()
				b.Close()
				x.Lift()
				pattern, damage := filepath.Join(f.path, "mirrors", "uploads", "*"), row.damage
				if damage == nil {
					pattern = filepath.Join(f.path, "mirrors", "objects", "mirror", "downloads", "docker.io", "sha256", "*", "*")
					damage = func(data []byte) []byte { data[12] ^= 1; return data }
				}
				files, err := filepath.Glob(pattern)
				if err != nil || len(files) != 1 {
					t.Fatalf("there are %q, %v", files, err)
				}
				data, err := os.ReadFile(files[0])
				if err == nil {
					err = os.WriteFile(files[0], damage(data), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				f.open(t, f.settings)
				for try := 1; ; try++ {
					got, err := read(f, fetch, repo, f.blob)
					if err == nil && !bytes.Equal(got, layer) || err != nil && len(got) >= len(layer) {
						t.Fatalf("a clean end of %d wrong bytes", len(got))
					}
					if err == nil {
						return
					}
					if try == row.tries {
						t.Fatalf("try %d: %v", try, err)
					}
				}
			})
		})
	}
}
