package pages_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/pages"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

// shelf is a registry with as many repositories, each with as many tags, as are asked for.
type shelf struct {
	core.Unimplemented
	state core.CatalogState
	err   error       // of everything
	pause *core.Pause // ends the list of repositories
	blob  error       // of configs
	rows  int64       // that were read; atomic
}

var manifest = []byte(`{"schemaVersion":2,"config":{"mediaType":"` + ocispec.MediaTypeImageConfig + `","digest":"` + string(digest.FromString("c")) +
	`","size":2},"layers":[{"mediaType":"` + ocispec.MediaTypeImageLayer + `","digest":"` + string(digest.FromString("l")) + `","size":1000}]}`)

var image = core.ImageRow{Digest: digest.FromBytes(manifest), Described: true,
	ImageFacts: core.ImageFacts{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: ocispec.MediaTypeImageConfig, Content: 1002, Layers: 1}}

func (s *shelf) CatalogState(context.Context) (core.CatalogState, error) { return s.state, s.err }

func (s *shelf) RepositoryRows(context.Context, string, core.RepositoryOrder, string) iter.Seq2[core.RepositoryRow, error] {
	return func(yield func(core.RepositoryRow, error) bool) {
		if s.err != nil {
			yield(core.RepositoryRow{}, s.err)
			return
		}
		for i := 0; ; i++ {
			if s.pause != nil && i == 3 {
				yield(core.RepositoryRow{}, s.pause)
				return
			}
			atomic.AddInt64(&s.rows, 1)
			name := fmt.Sprintf("team/r%09d", i)
			if !yield(core.RepositoryRow{At: name, Name: name, Tags: 1, Newest: "v1", NewestDigest: image.Digest}, nil) {
				return
			}
		}
	}
}

func (s *shelf) RepositoryRow(_ context.Context, repo string) (core.RepositoryRow, error) {
	return core.RepositoryRow{Name: repo, Tags: 1_000_000, OnlyHere: -1}, s.err
}

func (s *shelf) TagRows(context.Context, string, core.TagOrder, string) iter.Seq2[core.TagRow, error] {
	return func(yield func(core.TagRow, error) bool) {
		for i := 0; ; i++ {
			atomic.AddInt64(&s.rows, 1)
			name := fmt.Sprintf("v%09d", 999_999_999-i)
			if !yield(core.TagRow{At: name, Name: name, TagState: core.TagState{Digest: image.Digest}, Image: image}, nil) {
				return
			}
		}
	}
}

func (s *shelf) TagRow(_ context.Context, _, tag string) (core.TagRow, error) {
	if tag == "nothing-like-it" {
		return core.TagRow{}, core.ErrManifestUnknown
	}
	return core.TagRow{At: tag, Name: tag, TagState: core.TagState{Digest: image.Digest}, Image: image}, s.err
}

func (s *shelf) ImageRow(context.Context, string, digest.Digest) (core.ImageRow, error) {
	return image, s.err
}

func (s *shelf) ImageRows(context.Context, string, string) iter.Seq2[core.ImageRow, error] {
	return func(yield func(core.ImageRow, error) bool) {
		for {
			atomic.AddInt64(&s.rows, 1)
			if !yield(image, nil) {
				return
			}
		}
	}
}

func (s *shelf) ImageNames(context.Context, string, digest.Digest) ([]core.NamedRow, error) {
	return nil, s.err
}

func (s *shelf) UserRows(context.Context, string, digest.Digest, string) iter.Seq2[core.ContentRow, error] {
	return func(yield func(core.ContentRow, error) bool) {
		for {
			atomic.AddInt64(&s.rows, 1)
			if !yield(core.ContentRow{Repo: "team/app", Digest: image.Digest, Manifest: true}, nil) {
				return
			}
		}
	}
}

func (s *shelf) Manifest(ctx context.Context, _ string, ref core.Reference) (core.Manifest, error) {
	if !core.Looks(ctx) || ref.Tag != "" {
		return core.Manifest{}, errors.New("a page reads a manifest by a tag, or without looking")
	}
	return core.Manifest{Bytes: manifest}, nil
}

func (s *shelf) Blob(ctx context.Context, _ string, d digest.Digest) (core.Blob, error) {
	if !core.Looks(ctx) {
		return nil, errors.New("a page reads a config without looking")
	}
	return content{io.NopCloser(strings.NewReader("{}")), d}, s.blob
}

type content struct {
	io.ReadCloser
	d digest.Digest
}

func (c content) Descriptor() core.Descriptor { return core.Descriptor{Digest: c.d, Size: 2} }

// backwards hides a place, as a test can see through it.
type backwards struct{}

func (backwards) Seal(_ string, plain []byte) []byte {
	sealed := bytes.Clone(plain)
	for i := range sealed {
		sealed[i] = ^sealed[i]
	}
	return sealed
}

func (b backwards) Unseal(purpose string, sealed []byte) ([]byte, error) {
	return b.Seal(purpose, sealed), nil
}

// open returns the answer to a request for a page, and the log.
func open(s *shelf, path string) (*httptest.ResponseRecorder, string) { return openAt(s, path) }

// openAt is open for any registry.
func openAt(s core.Registry, path string) (*httptest.ResponseRecorder, string) {
	var log bytes.Buffer
	site := &pages.Site{
		Registry: s, Private: s, Who: policies.Identity{User: "ada"}, Host: "registry.test", Cursors: backwards{},
		Canonical: func(name string) (string, string, bool) {
			if strings.HasPrefix(name, "docker.io/") {
				return name, "docker.io", true
			}
			return name, "", true
		},
		Log: slog.New(slog.NewTextHandler(&log, nil)),
	}
	answer := httptest.NewRecorder()
	site.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	return answer, log.String()
}

func TestStatesAreShown(t *testing.T) {
	whole := core.CatalogState{Whole: true}
	for _, row := range []struct {
		name   string
		shelf  shelf
		path   string
		status int
		has    string
	}{
		{"the index is being built", shelf{state: core.CatalogState{Described: 1203, Manifests: 5000}}, "/", 200, "1,203 of about 5,000 images are described"},
		{"a repository meanwhile", shelf{state: core.CatalogState{Described: 1, Manifests: 2}}, "/images/team/app", 200, "1 of about 2 images are described"},
		{"an image meanwhile", shelf{state: core.CatalogState{Described: 1, Manifests: 2}}, "/images/team/app:v1", 200, "1 of about 2 images are described"},
		{"to somebody who may not read all", shelf{}, "/images", 200, "Not all images are described yet"},
		{"a part of a list that is all hidden", shelf{state: whole, pause: &core.Pause{After: "team/hidden"}}, "/images?q=nothing", 200, "The search goes on"},
		{"a config that is not held", shelf{state: whole, blob: core.ErrBlobUnknown}, "/images/team/app:v1", 200, "Its config is not held here"},
		{"what is not here", shelf{state: whole, err: core.ErrManifestUnknown}, "/images/team/app:v1", 404, "There is no such image, or you may not see it"},
		{"what may not be read", shelf{state: whole, err: core.ErrDenied}, "/images/team/app:v1", 404, "There is no such image, or you may not see it"},
		{"what a mirror does not hold", shelf{state: whole, err: core.ErrNameUnknown}, "/images/docker.io/team/app", 404, "docker pull registry.test/docker.io/team/app"},
		{"a registry that is closed", shelf{err: fmt.Errorf("%w: closed", core.ErrUnavailable)}, "/images", 503, "Try again in a moment"},
		{"a fault", shelf{err: errors.New("the disk is on fire")}, "/images/team/app:v1", 500, "Its log says why, under this number"},
		{"a broken place", shelf{state: whole}, "/images?after=.!", 400, "Begin with its first page"},
	} {
		answer, log := open(&row.shelf, row.path)
		body := answer.Body.String()
		if answer.Code != row.status || !strings.Contains(body, row.has) {
			t.Errorf("%s: got %d, want %d with %q:\n%s", row.name, answer.Code, row.status, row.has, body)
		}
		if strings.Contains(body, "team/hidden") || strings.Contains(body, "on fire") {
			t.Errorf("%s: the page has what is not for its visitor: %s", row.name, body)
		}
		if row.status < 500 {
			continue
		}
		number := regexp.MustCompile(`<p class="mono">(\w+)</p>`).FindStringSubmatch(body)
		if number == nil || !strings.Contains(log, "request="+number[1]) {
			t.Errorf("%s: the log has no number of the page: %s", row.name, log)
		}
	}
}

// A page of a list of a million rows reads no more of them than one of a hundred.
func TestPagesReadFewRows(t *testing.T) {
	for path, most := range map[string]int64{
		"/": 40, "/images": 52, "/images?order=size": 52, "/images/team/app": 52, "/images/team/app?order=push": 52, "/images/team/app:v1": 25,
		"/images/team/app?kind=untagged": 52,
		"/images?q=nothing-like-it":      20_001, "/images/team/app?tag=nothing-like-it": 20_001,
		"/images?q=:nothing-like-it": 1001, "/images?q=r:nothing-like-it": 1001,
	} {
		s := &shelf{state: core.CatalogState{Whole: true}}
		answer, _ := open(s, path)
		if answer.Code != http.StatusOK || s.rows > most {
			t.Errorf("%s: got %d with %d rows, want at most %d", path, answer.Code, s.rows, most)
		}
		if strings.HasSuffix(path, "nothing-like-it") && !strings.Contains(answer.Body.String(), "Search on →") {
			t.Errorf("%s does not offer to search on", path)
		}
	}
}

func TestAPlaceBehindAHiddenRowIsReadAgain(t *testing.T) {
	s := &shelf{state: core.CatalogState{Whole: true}, pause: &core.Pause{After: strings.Repeat("x", 255)}}
	answer, _ := open(s, "/images")
	next := regexp.MustCompile(`href="(/images\?after=[^"]*)" rel="next"`).FindStringSubmatch(answer.Body.String())
	if next == nil {
		t.Fatalf("the list does not go on:\n%s", answer.Body)
	}
	if answer, _ := open(s, next[1]); answer.Code != http.StatusOK {
		t.Errorf("got %d", answer.Code)
	}
	if at := answer.Header().Get("Cache-Control"); at != "no-store" {
		t.Errorf("a page for somebody signed in has Cache-Control %q", at)
	}
}
