package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	index = ocispec.MediaTypeImageIndex
	repo  = "library/nginx"
)

var (
	tag      = core.Reference{Tag: "latest"}
	document = []byte(`{"schemaVersion":2,"mediaType":"` + index + `","manifests":[]}`)
	layer    = bytes.Repeat([]byte("0123456789abcdef"), 512)
)

// fixture is an upstream that holds one image, and a client of it.
type fixture struct {
	*upstreamtest.Upstream
	client *upstream.Client
	log    *bytes.Buffer
	blob   digest.Digest
}

func start(t *testing.T, o upstreamtest.Config, configure func(*upstream.Config)) *fixture {
	t.Helper()
	f := &fixture{Upstream: upstreamtest.New(t, o), log: &bytes.Buffer{}}
	f.Manifest(repo, index, document, tag.Tag)
	f.blob = f.Blob(repo, layer)
	c := upstream.Config{
		Name: "fake", URLs: []string{f.URL}, AllowPrivate: f.AllowPrivate(),
		Log: slog.New(slog.NewTextHandler(f.log, nil)),
	}
	if o.Network != nil {
		c.Dial, c.AllowPrivate = o.Network.Dial, nil
	}
	if configure != nil {
		configure(&c)
	}
	f.client = open(t, c)
	return f
}

func open(t *testing.T, c upstream.Config) *upstream.Client {
	t.Helper()
	if c.Dial == nil { // no fake time: a busy machine is not an upstream that hangs
		c.ConnectTimeout, c.HeadTimeout, c.StallTimeout = time.Minute, time.Minute, time.Minute
	}
	client, err := upstream.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func with(user, secret string) func(*upstream.Config) {
	return func(c *upstream.Config) { c.User, c.Secret = user, secret }
}

// saw compares what the upstream was asked.
func (f *fixture) saw(t *testing.T, want ...string) {
	t.Helper()
	if got := f.Requests(); !slices.Equal(got, want) {
		t.Errorf("the upstream saw\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func readBlob(ctx context.Context, c *upstream.Client, d digest.Digest, offset int64) ([]byte, int64, error) {
	body, size, err := c.Blob(ctx, repo, d, offset, -1)
	if err != nil {
		return nil, 0, err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	return data, size, err
}

const (
	headTag = "registry HEAD /v2/library/nginx/manifests/latest"
	getTag  = "registry GET /v2/library/nginx/manifests/latest"
)

func TestHeadAsksOnlyWhatItMust(t *testing.T) {
	for _, tt := range []struct {
		name      string
		kind      upstreamtest.Kind
		user, key string
		private   bool
		want      []string
		anonymous bool
		err       error
	}{
		{"of an open registry", upstreamtest.Open, "", "", false, []string{headTag}, true, nil},
		{"of an open registry, with credentials", upstreamtest.Open, "user", "secret", false, []string{headTag}, true, nil},
		{"of a registry with Basic", upstreamtest.Basic, "user", "secret", false, []string{headTag, headTag + " basic"}, false, nil},
		{"of a registry with Basic and no credentials", upstreamtest.Basic, "", "", false, []string{headTag}, true, upstream.ErrNoDigest},
		{"of Docker Hub, anonymously", upstreamtest.Hub, "", "", false,
			[]string{headTag, "token GET /token", headTag + " bearer"}, true, nil},
		{"of Docker Hub, with credentials", upstreamtest.Hub, "user", "secret", false,
			[]string{headTag, "token GET /token basic", headTag + " bearer"}, false, nil},
		{"of a private repository of Docker Hub, with credentials", upstreamtest.Hub, "user", "secret", true,
			[]string{headTag, "token GET /token basic", headTag + " bearer"}, false, nil},
		{"of a private repository of Docker Hub, anonymously", upstreamtest.Hub, "", "", true,
			[]string{headTag, "token GET /token", headTag + " bearer"}, true, upstream.ErrNoDigest},

		// Stale credentials must not break access to public content.
		{"of Docker Hub, with stale credentials", upstreamtest.Hub, "user", "old", false,
			[]string{headTag, "token GET /token basic", headTag, "token GET /token", headTag + " bearer"}, true, nil},
		{"of GHCR, with stale credentials", upstreamtest.GHCR, "user", "old", false,
			[]string{headTag, "token GET /token basic", headTag, "token GET /token", headTag + " bearer"}, true, nil},

		// The token endpoint refuses them.
		{"of a private repository of GHCR, anonymously", upstreamtest.GHCR, "", "", true,
			[]string{headTag, "token GET /token"}, true, upstream.ErrNotFound},
		{"of a private repository of GHCR, with credentials", upstreamtest.GHCR, "user", "secret", true,
			[]string{headTag, "token GET /token basic", headTag + " bearer"}, false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, upstreamtest.Config{Kind: tt.kind}, with(tt.user, tt.key))
			if tt.private {
				f.Private(repo)
			}
			got, err := f.client.Head(t.Context(), repo, tag)
			if !errors.Is(err, tt.err) {
				t.Fatalf("got error %v, want %v", err, tt.err)
			}
			if want := digest.FromBytes(document); err == nil && (got.Descriptor.Digest != want || got.Descriptor.MediaType != index || got.Descriptor.Size != int64(len(document))) {
				t.Errorf("got %+v, want %s", got.Descriptor, want)
			}
			if err == nil && got.Anonymous != tt.anonymous {
				t.Errorf("got anonymous %t, want %t", got.Anonymous, tt.anonymous)
			}
			wanted := tt.want
			if tt.key == "old" { // the refused try learned the challenge already
				wanted = slices.Concat(wanted[:2], wanted[3:])
			}
			f.saw(t, wanted...)
			if said := strings.Count(f.log.String(), "refuses the stored credentials"); (said == 1) != (tt.key == "old") {
				t.Errorf("log: %s", f.log)
			}
		})
	}
}

func TestRefusedCredentialsAreSaidOnce(t *testing.T) {
	f := start(t, upstreamtest.Config{Kind: upstreamtest.Hub}, with("user", "old"))
	for range 3 {
		if _, err := f.client.Manifest(t.Context(), repo, tag); err != nil {
			t.Fatal(err)
		}
	}
	f.saw(t, getTag, "token GET /token basic", "token GET /token",
		getTag+" bearer", getTag+" bearer", getTag+" bearer")
	if got := strings.Count(f.log.String(), "refuses"); got != 1 {
		t.Errorf("said %d times, want once:\n%s", got, f.log)
	}
}

// A wrong password is logged if the upstream shows nothing without one; content that the
// right one may not see is not blamed on it, whichever host answers 401.
func TestWrongCredentialsAreSaidWhereNothingIsShown(t *testing.T) {
	const registry, token = "registry", "token"
	for _, tt := range []struct {
		name  string
		kind  upstreamtest.Kind
		key   string
		fault string // the host that answers 401 for a missing repository
		want  int
	}{
		{"Basic", upstreamtest.Basic, "old", "", 1},
		{"Basic, right", upstreamtest.Basic, "secret", registry, 0},
		{"Docker Hub", upstreamtest.Hub, "old", "", 1},
		{"Docker Hub, right", upstreamtest.Hub, "secret", registry, 0},
		{"Docker Hub, right, by its token endpoint", upstreamtest.Hub, "secret", token, 0},
		{"GHCR", upstreamtest.GHCR, "old", "", 1},
		{"GHCR, right", upstreamtest.GHCR, "secret", registry, 0},
		{"no challenge", upstreamtest.Open, "old", registry, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, upstreamtest.Config{Kind: tt.kind}, with("user", tt.key))
			f.Private(repo)
			name := repo
			if tt.fault != "" {
				if _, err := f.client.Head(t.Context(), repo, tag); err != nil {
					t.Fatal(err)
				}
				name = "library/absent"
				f.Fault(upstreamtest.Fault{Host: tt.fault, Status: http.StatusUnauthorized})
			}
			for range 2 {
				if _, err := f.client.Head(t.Context(), name, tag); err == nil {
					t.Error("it was shown")
				}
			}
			if got := strings.Count(f.log.String(), "refuses the stored credentials with 401"); got != tt.want {
				t.Errorf("said %d times, want %d:\n%s", got, tt.want, f.log)
			}
		})
	}
}

func TestAnonymousClientNeverShowsCredentials(t *testing.T) {
	f := start(t, upstreamtest.Config{Kind: upstreamtest.Hub}, with("user", "secret"))
	f.Private(repo)
	if _, err := f.client.Manifest(t.Context(), repo, tag); err != nil {
		t.Fatal(err)
	}
	f.Forget()
	if _, err := f.client.Anonymous().Manifest(t.Context(), repo, tag); !errors.Is(err, upstream.ErrDenied) {
		t.Errorf("got %v, want %v", err, upstream.ErrDenied)
	}
	f.saw(t, "token GET /token", getTag+" bearer")
}

func TestEveryRequestForAManifestAcceptsEveryType(t *testing.T) {
	f := start(t, upstreamtest.Config{}, nil)
	_, err := f.client.Head(t.Context(), repo, tag)
	_, err2 := f.client.Manifest(t.Context(), repo, tag)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	for _, r := range f.Recorded() {
		for _, want := range []string{ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, core.MediaTypeDockerManifest, core.MediaTypeDockerManifestList} {
			if got := r.Header.Get("Accept"); !slices.Contains(strings.Split(got, ", "), want) {
				t.Errorf("%s: Accept %q has no %s", r, got, want)
			}
		}
	}
}

func TestRateLimitIsKeptPerCredential(t *testing.T) {
	f := start(t, upstreamtest.Config{Kind: upstreamtest.Hub, Pulls: 20}, with("user", "secret"))
	if got := f.client.Limit(); !got.At.IsZero() {
		t.Errorf("got %+v before any request, want none", got)
	}
	if _, err := f.client.Manifest(t.Context(), repo, tag); err != nil {
		t.Fatal(err)
	}
	got := f.client.Limit()
	if got.Limit != 20 || got.Remaining != 19 || got.Window.Hours() != 6 || got.Source != "203.0.113.9" {
		t.Errorf("got %+v, want 19 of 20 in 6 hours for 203.0.113.9", got)
	}
	if got := f.client.Anonymous().Limit(); !got.At.IsZero() {
		t.Errorf("got %+v for anonymous, want none", got)
	}
}

func TestURLsAreTriedInOrder(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		second int // requests that the second URL sees
		err    error
	}{
		// Trouble goes on to the next.
		{"500", 500, 1, nil},
		{"503", 503, 1, nil},
		{"429", 429, 1, nil},
		// An answer is an answer.
		{"404", 404, 0, upstream.ErrNotFound},
		{"403", 403, 0, upstream.ErrDenied},
	} {
		t.Run("after "+tt.name, func(t *testing.T) {
			second := upstreamtest.New(t, upstreamtest.Config{})
			second.Manifest(repo, index, document, tag.Tag)
			f := start(t, upstreamtest.Config{}, func(c *upstream.Config) { c.URLs = append(c.URLs, second.URL) })
			f.Fault(upstreamtest.Fault{Status: tt.status})
			_, err := f.client.Manifest(t.Context(), repo, tag)
			if !errors.Is(err, tt.err) {
				t.Errorf("got error %v, want %v", err, tt.err)
			}
			if got := len(second.Requests()); got != tt.second {
				t.Errorf("the second URL saw %d requests, want %d", got, tt.second)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config upstream.Config
		want   string
	}{
		{"no URL", upstream.Config{}, "missing url"},
		{"a path", upstream.Config{URLs: []string{"https://a.example/v2"}}, "only scheme, host and port"},
		{"a password in a URL", upstream.Config{URLs: []string{"https://u:hunter2@a.example"}}, "the options for credentials"},
		{"another scheme", upstream.Config{URLs: []string{"ftp://a.example"}}, "must be https or http"},
		{"a user without a secret", upstream.Config{URLs: []string{"https://a.example"}, User: "u"}, "both needed"},
		{"a credentials file that is not there", upstream.Config{URLs: []string{"https://a.example"}, CredentialsFile: "/nonexistent/config.json"}, "no such file"},
		{"a name in allow_private", upstream.Config{URLs: []string{"https://a.example"}, AllowPrivate: []string{"a.example"}}, "neither a CIDR nor host:port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := upstream.New(tt.config)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
