package remote_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/transfer"
	"github.com/eblume/caddy-registry/core/transfer/remote"
)

// source is a registry in memory, whose answers a test may change.
type source struct {
	*httptest.Server
	host  string
	image v1.Image
}

// serve serves team/app with two tags of one image and something that refers to it, and
// team/other. before answers a request by itself if it returns true.
func serve(t *testing.T, before func(http.ResponseWriter, *http.Request) bool) source {
	t.Helper()
	kept := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
	open := false // while the test pushes
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if open || before == nil || !before(w, r) {
			kept.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s := source{Server: server, host: strings.TrimPrefix(server.URL, "http://")}
	open = true
	s.image = push(t, s.host+"/team/app:v1", nil)
	push(t, s.host+"/team/app:v2", s.image)
	push(t, s.host+"/team/other:v1", nil)
	descriptor, err := s.descriptor()
	if err != nil {
		t.Fatal(err)
	}
	signature := push(t, s.host+"/unused:v1", nil)
	referring := mutate.Subject(signature, descriptor).(v1.Image)
	d, err := referring.Digest()
	if err != nil {
		t.Fatal(err)
	}
	push(t, s.host+"/team/app@"+d.String(), referring)
	open = false
	return s
}

func (s source) descriptor() (v1.Descriptor, error) {
	d, err := s.image.Digest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	size, err := s.image.Size()
	if err != nil {
		return v1.Descriptor{}, err
	}
	mediaType, err := s.image.MediaType()
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: size}, err
}

// push pushes an image; nil: a random one.
func push(t *testing.T, to string, image v1.Image) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(to)
	if err != nil {
		t.Fatal(err)
	}
	if image == nil {
		if image, err = random.Image(100, 2); err != nil {
			t.Fatal(err)
		}
	}
	if err := ggcr.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	return image
}

func open(t *testing.T, c remote.Config) *remote.Registry {
	t.Helper()
	r, err := remote.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func repositories(t *testing.T, r *remote.Registry) (names []string, err error) {
	t.Helper()
	for name, err := range r.Repositories(t.Context()) {
		if err != nil {
			return names, err
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func TestTheRepositoriesThatPatternsChoose(t *testing.T) {
	s := serve(t, nil)
	for _, row := range []struct {
		name  string
		globs []string
		want  string
	}{
		{"none", nil, "team/app team/other unused"},
		{"a pattern", []string{"team/**"}, "team/app team/other"},
		{"a pattern and a name", []string{"team/a*", "unused"}, "team/app unused"},
		{"names, also of what is not listed", []string{"team/app", "not/listed"}, "not/listed team/app"},
	} {
		got, err := repositories(t, open(t, remote.Config{Host: s.host, Globs: row.globs}))
		if err != nil || strings.Join(got, " ") != row.want {
			t.Errorf("%s: got %v and %v, want %s", row.name, got, err, row.want)
		}
	}
}

func TestARegistryWithoutAList(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/_catalog") {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	})
	if _, err := repositories(t, open(t, remote.Config{Host: s.host})); err == nil || !strings.Contains(err.Error(), "name the repositories") {
		t.Errorf("got %v, want what to do", err)
	}
	if got, err := repositories(t, open(t, remote.Config{Host: s.host, Globs: []string{"team/app"}})); len(got) != 1 || err != nil {
		t.Errorf("by name: got %v and %v", got, err)
	}
}

func TestTheImagesOfARepository(t *testing.T) {
	for _, row := range []struct {
		name   string
		before func(http.ResponseWriter, *http.Request) bool
	}{
		{"a registry", nil},
		{"one that answers no HEAD", func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
			}
			return r.Method == http.MethodHead
		}},
	} {
		s := serve(t, row.before)
		r := open(t, remote.Config{Host: s.host})
		images, err := r.Images(t.Context(), "team/app")
		if err != nil || len(images) != 2 {
			t.Fatalf("%s: got %+v and %v, want an image and what refers to it", row.name, images, err)
		}
		want, err := s.descriptor()
		if err != nil {
			t.Fatal(err)
		}
		if image := images[0]; string(image.Digest) != want.Digest.String() || image.MediaType != string(want.MediaType) ||
			len(image.Tags) != 2 || len(images[1].Tags) != 0 {
			t.Errorf("%s: got %+v, want %s with two tags and one without", row.name, images, want.Digest)
		}
		manifest, err := r.Manifest(t.Context(), "team/app", images[0].Digest)
		if err != nil || digest.FromBytes(manifest) != images[0].Digest {
			t.Errorf("%s: the manifest: %q, %v", row.name, manifest, err)
		}
		layers, err := s.image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		layer, err := layers[0].Digest()
		if err != nil {
			t.Fatal(err)
		}
		body, _, err := r.Blob(t.Context(), "team/app", digest.Digest(layer.String()))
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil || digest.FromBytes(content).String() != layer.String() {
			t.Errorf("%s: the blob has %d bytes, %v", row.name, len(content), err)
		}
		absent := digest.FromString("absent")
		_, manifestErr := r.Manifest(t.Context(), "team/app", absent)
		_, _, blobErr := r.Blob(t.Context(), "team/app", absent)
		for _, err := range []error{manifestErr, blobErr} {
			if !errors.Is(err, transfer.ErrAbsent) {
				t.Errorf("%s: of what is not there: got %v, want ErrAbsent", row.name, err)
			}
		}
	}
}

func TestCredentialsAreSent(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		if user == "me" && password == "secret" {
			return false
		}
		w.Header().Set("Www-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	if _, err := open(t, remote.Config{Host: s.host}).Images(t.Context(), "team/app"); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("without credentials: got %v", err)
	}
	r := open(t, remote.Config{Host: s.host, Auth: authn.AuthConfig{Username: "me", Password: "secret"}})
	if images, err := r.Images(t.Context(), "team/app"); err != nil || len(images) != 2 {
		t.Errorf("with credentials: got %+v and %v", images, err)
	}
}

func TestAHostThatIsNone(t *testing.T) {
	for _, c := range []remote.Config{{Host: "not a host"}, {Host: "https://registry.example.org"}, {Host: "registry.example.org", Globs: []string{"["}}} {
		if _, err := remote.Open(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}

// Two tags of one image cost one question for what refers to it.
func TestReferrersAreAskedForOnce(t *testing.T) {
	var asked atomic.Int32
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/referrers/") {
			asked.Add(1)
		}
		return false
	})
	images, err := open(t, remote.Config{Host: s.host}).Images(t.Context(), "team/app")
	if err != nil || len(images) != 2 || len(images[0].Tags) != 2 {
		t.Errorf("got %+v and %v, want an image with two tags and its referrer", images, err)
	}
	if got := asked.Load(); got != 1 {
		t.Errorf("referrers were asked for %d times, want once", got)
	}
}
