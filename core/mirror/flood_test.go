package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// files are those of a mirror's storage.
func (f *fixture) files(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(f.path, "mirrors", "objects"), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !entry.IsDir() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Requests of a stranger for missing content leave no file, and ask the upstream once or twice
// each, for every kind of request and of refusal, with and without credentials.
func TestQuestionsAboutNothingLeaveNothing(t *testing.T) {
	const questions = 20
	random := func(i int) digest.Digest { return digest.FromString(fmt.Sprint("random ", i)) }
	asks := []struct {
		name string
		ask  func(ctx context.Context, f *fixture, repo string, i int) error
	}{
		{"referrers", func(ctx context.Context, f *fixture, repo string, i int) error {
			found, err := list(f.Referrers(ctx, repo, random(i), "", ""))
			if len(found) > 0 {
				return errors.New("something refers to nothing")
			}
			return err
		}},
		{"tags", func(ctx context.Context, f *fixture, repo string, i int) error {
			_, err := list(f.Tags(ctx, repo, ""))
			return err
		}},
		{"manifest by tag", func(ctx context.Context, f *fixture, repo string, i int) error {
			_, err := f.Manifest(ctx, repo, core.Reference{Tag: fmt.Sprint("none", i)})
			return err
		}},
		{"manifest by digest", func(ctx context.Context, f *fixture, repo string, i int) error {
			_, err := f.Manifest(ctx, repo, core.Reference{Digest: random(i)})
			return err
		}},
		{"head of a manifest", func(ctx context.Context, f *fixture, repo string, i int) error {
			_, err := f.Resolve(ctx, repo, core.Reference{Digest: random(i)})
			return err
		}},
		{"blob", func(ctx context.Context, f *fixture, repo string, i int) error {
			_, err := f.Blob(ctx, repo, random(i))
			return err
		}},
		{"head of a blob", func(ctx context.Context, f *fixture, repo string, i int) error {
			_, err := f.Stat(ctx, repo, random(i))
			return err
		}},
	}
	empty := http.Header{"Content-Type": {ocispec.MediaTypeImageIndex}}
	for _, answer := range []struct {
		name  string
		fault upstreamtest.Fault
		only  string
	}{
		{"not found", upstreamtest.Fault{Status: 404}, ""},
		{"denied", upstreamtest.Fault{Status: 403}, ""},
		{"an empty list of referrers", upstreamtest.Fault{Path: "/referrers/", Status: 200, Header: empty,
			Body: `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`}, "referrers"},
		{"an empty list of tags", upstreamtest.Fault{Path: "/tags/", Status: 200, Body: `{"name":"x","tags":[]}`}, "tags"},
	} {
		for _, ask := range asks {
			if answer.only != "" && answer.only != ask.name {
				continue
			}
			for _, one := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %s, one repository %t", answer.name, ask.name, one), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						f := start(t, mirror.Settings{})
						f.up.Fault(answer.fault)
						before := len(f.files(t))
						for i := range questions {
							name := "docker.io/team/one"
							if !one {
								name = fmt.Sprint("docker.io/team/a", i)
							}
							for range 2 { // the second time memory has it, unless it was refused
								err := ask.ask(fetch, f, name, i)
								if answer.only != "" && err != nil {
									t.Error(err)
								}
							}
						}
						synctest.Wait()
						if got := f.files(t); len(got) != before {
							t.Errorf("%d files more: %q", len(got)-before, got)
						}
						most := questions
						if answer.fault.Status == 403 {
							most *= 2
						}
						switch ask.name {
						case "head of a blob":
							most *= 2 // a HEAD, and a byte of it, as HEAD never says no
						case "referrers":
							most *= 2 // the API, and the tag that stands for it
						}
						if got := f.up.Requests(); len(got) > most {
							t.Errorf("%d questions asked the upstream %d times, as %q", questions, len(got), got[:2])
						}
					})
				})
			}
		}
	}
}

// A list is on the disk while there is something in it, and for referrers, while the
// manifest is held that they refer to.
func TestListsOfWhatIsHeldAreKept(t *testing.T) {
	body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":3}]}`,
		ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, digest.FromString("x"))
	for _, row := range []struct {
		name string
		pull bool // the manifest, before its referrers are asked for
		body string
		kept int
	}{
		{"of what is held", true, body, 1},
		{"of what is not held", false, body, 0},
		{"without anything in it", true, `{"schemaVersion":2,"manifests":[]}`, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				f.up.Fault(upstreamtest.Fault{Path: "/referrers/", Status: 200, Body: row.body,
					Header: http.Header{"Content-Type": {ocispec.MediaTypeImageIndex}}})
				if row.pull {
					if _, err := f.Manifest(fetch, repo, latest); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				before := len(f.files(t))
				f.up.Forget()
				for range 3 {
					if _, err := list(f.Referrers(fetch, repo, f.image, "", "")); err != nil {
						t.Fatal(err)
					}
				}
				if got := len(f.files(t)) - before; got != row.kept {
					t.Errorf("%d files are kept, want %d", got, row.kept)
				}
				if got := f.up.Requests(); len(got) != 1 {
					t.Errorf("the upstream saw %q, want one question", got)
				}
			})
		})
	}
}
