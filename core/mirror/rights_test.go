package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/globs"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

const secretRepo = "docker.io/team/secret"

var (
	stranger = core.WithAccess(context.Background(), core.Access{Fetch: true})
	knownOne = core.WithAccess(context.Background(), core.Access{Fetch: true, Known: true})
	insider  = core.WithAccess(context.Background(), core.Access{Fetch: true, Known: true, Private: true})
)

// hides starts a mirror with credentials whose upstream has a public repository and
// team/secret, which only the credentials are shown.
func hides(t *testing.T, kind upstreamtest.Kind, settings mirror.Settings) (f *fixture, secret digest.Digest) {
	t.Helper()
	f = startAs(t, upstreamtest.Config{Kind: kind}, settings)
	f.config.User, f.config.Secret = "user", "secret"
	f.restart(t)
	f.up.Blob("team/secret", layer)
	secret = f.up.Manifest("team/secret", ocispec.MediaTypeImageManifest, append(document(len(layer)), '\n'), "latest")
	f.up.Private("team/secret")
	return f, secret
}

func TestCredentialsDoNotWidenWhoMayRead(t *testing.T) {
	for _, kind := range []upstreamtest.Kind{upstreamtest.Hub, upstreamtest.GHCR} {
		synctest.Test(t, func(t *testing.T) {
			f, secret := hides(t, kind, mirror.Settings{})
			ways := map[string]func(ctx context.Context) error{
				"tag":  func(ctx context.Context) error { _, err := f.Manifest(ctx, secretRepo, latest); return err },
				"head": func(ctx context.Context) error { _, err := f.Resolve(ctx, secretRepo, latest); return err },
				"digest": func(ctx context.Context) error {
					_, err := f.Manifest(ctx, secretRepo, core.Reference{Digest: secret})
					return err
				},
				"no tag": func(ctx context.Context) error {
					if _, err := f.Manifest(ctx, secretRepo, core.Reference{Tag: "none"}); !errors.Is(err, core.ErrManifestUnknown) {
						return err
					}
					return nil
				},
				"stat": func(ctx context.Context) error { _, err := f.Stat(ctx, secretRepo, f.blob); return err },
				"blob": func(ctx context.Context) error { _, err := read(f, ctx, secretRepo, f.blob); return err },
				"tags": func(ctx context.Context) error { _, err := list(f.Tags(ctx, secretRepo, "")); return err },
				"referrers": func(ctx context.Context) error {
					_, err := list(f.Referrers(ctx, secretRepo, secret, "", ""))
					return err
				},
			}
			// Cold, and once more when all of it is held.
			for _, when := range []string{"cold", "held"} {
				for _, row := range []struct {
					name string
					ctx  context.Context
					want error
				}{
					{"anonymous", stranger, core.ErrUnauthorized},
					{"known", knownOne, core.ErrNameUnknown},
					{"named by private", insider, nil},
					{"anonymous after that", stranger, core.ErrUnauthorized},
				} {
					for name, way := range ways {
						if when == "cold" && row.want != nil && name == "no tag" {
							continue // it is not known yet that the repository exists
						}
						if err := way(row.ctx); !errors.Is(err, row.want) {
							t.Errorf("%d, %s, %s, %s: got %v, want %v", kind, when, row.name, name, err, row.want)
						}
					}
				}
			}
			if got, _ := list(f.Repositories(stranger, "")); slices.Contains(got, secretRepo) {
				t.Error("the catalog shows what is hidden")
			}
			if got, _ := list(f.Repositories(core.WithReveal(stranger, func(repo string) bool { return repo == secretRepo }), "")); !slices.Contains(got, secretRepo) {
				t.Error("the catalog hides what the caller may see")
			}
			if got, _ := list(f.Holders(stranger, f.blob)); slices.Contains(got, secretRepo) {
				t.Error("a holder is shown that is hidden")
			}
			// The public one is served to all callers, although it was fetched with credentials.
			if _, err := f.Manifest(stranger, repo, latest); err != nil {
				t.Errorf("public: %v", err)
			}
			if n := strings.Count(f.log.String(), "only to the stored credentials"); n != 1 {
				t.Errorf("the log says it %d times, want once:\n%s", n, f.log)
			}
		})
	}
}

// A request looks up the record of rights once, however often it decides by it. A record that
// cannot be read is not remembered, so each look reads the disk.
func TestRightsAreLookedUpOncePerRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, secret := hides(t, upstreamtest.Basic, mirror.Settings{TTL: 365 * 24 * time.Hour})
		if _, err := f.Manifest(insider, secretRepo, latest); err != nil {
			t.Fatal(err)
		}
		if _, err := read(f, insider, secretRepo, f.blob); err != nil {
			t.Fatal(err)
		}
		if _, err := list(f.Tags(insider, secretRepo, "")); err != nil {
			t.Fatal(err)
		}
		cold := f.up.Blob("team/secret", bytes.Repeat([]byte("cold"), 1000))
		f.restart(t)
		f.full.mu.Lock()
		f.full.unreadable = "/_shown"
		f.full.mu.Unlock()
		for _, row := range []struct {
			name string
			way  func(ctx context.Context) error
			want int
		}{
			{"tag", func(ctx context.Context) error { _, err := f.Manifest(ctx, secretRepo, latest); return err }, 1},
			{"digest", func(ctx context.Context) error {
				_, err := f.Manifest(ctx, secretRepo, core.Reference{Digest: secret})
				return err
			}, 1},
			{"stat", func(ctx context.Context) error { _, err := f.Stat(ctx, secretRepo, f.blob); return err }, 1},
			{"blob", func(ctx context.Context) error { _, err := read(f, ctx, secretRepo, f.blob); return err }, 1},
			{"tags", func(ctx context.Context) error { _, err := list(f.Tags(ctx, secretRepo, "")); return err }, 1},
			{"referrers", func(ctx context.Context) error {
				_, err := list(f.Referrers(ctx, secretRepo, secret, "", ""))
				return err
			}, 1},
			{"cold blob, once more by its download", func(ctx context.Context) error {
				_, err := read(f, ctx, secretRepo, cold)
				return err
			}, 2},
		} {
			for who, ctx := range map[string]context.Context{"served": insider, "refused": context.Background()} {
				f.full.mu.Lock()
				f.full.missed = 0
				f.full.mu.Unlock()
				err := row.way(ctx)
				want := row.want
				if who == "refused" {
					want = 1
				}
				f.full.mu.Lock()
				if f.full.missed != want || (err == nil) != (who == "served") {
					t.Errorf("%s, %s: %d looks, want %d; %v", row.name, who, f.full.missed, want, err)
				}
				f.full.mu.Unlock()
			}
		}
	})
}

// Each repository is asked about once a day, and the last answer holds while the
// upstream cannot be asked, also over a restart.
func TestTheUpstreamIsAskedOncePerDayWhatItShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, secret := hides(t, upstreamtest.Basic, mirror.Settings{TTL: 365 * 24 * time.Hour, MaxStale: 10 * 24 * time.Hour})
		read := func(want error) {
			t.Helper()
			if _, err := f.Manifest(stranger, secretRepo, core.Reference{Digest: secret}); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
		if _, err := f.Manifest(insider, secretRepo, core.Reference{Digest: secret}); err != nil {
			t.Fatal(err)
		}
		anonymous := "registry HEAD /v2/team/secret/manifests/" + string(secret)
		read(core.ErrUnauthorized)
		if got := f.up.Requests(); !slices.Contains(got, anonymous) {
			t.Errorf("the upstream saw %q, want one of them to be %q", got, anonymous)
		}
		f.up.Forget()
		time.Sleep(24*time.Hour - time.Minute)
		read(core.ErrUnauthorized)
		f.saw(t)
		time.Sleep(time.Minute)
		read(core.ErrUnauthorized)
		f.saw(t, anonymous, strings.Replace(anonymous, "HEAD", "GET", 1), anonymous+" basic")

		// The last answer counts, for max_stale.
		f.network.Refuse(f.up.Registry, true)
		f.restart(t)
		time.Sleep(9 * 24 * time.Hour)
		read(core.ErrUnauthorized)
		if _, err := f.Manifest(insider, secretRepo, core.Reference{Digest: secret}); err != nil {
			t.Errorf("one who may see it: %v", err)
		}
	})
}

func TestWhatWasNeverAskedIsHiddenIfCredentialsFetchedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startAs(t, upstreamtest.Config{Kind: upstreamtest.Hub}, mirror.Settings{})
		// Without credentials everything that is shown is public, and no request is made.
		if _, err := f.Manifest(stranger, repo, latest); err != nil {
			t.Fatal(err)
		}
		if got := f.up.Requests(); len(got) != 3 {
			t.Errorf("the upstream saw %q, want the challenge, the token and the GET", got)
		}
		f.config.User, f.config.Secret = "user", "secret"
		f.restart(t)
		down := f.up.Fault(upstreamtest.Fault{Status: 503})
		if _, err := f.Manifest(stranger, repo, latest); err != nil {
			t.Errorf("held, fetched without credentials, upstream down: %v, want it served", err)
		}
		down.Lift()
		time.Sleep(time.Hour)
		// The anonymous question fails, while the credentials fetch.
		f.up.Blob("library/httpd", layer)
		httpd := f.up.Manifest("library/httpd", ocispec.MediaTypeImageManifest, document(3), "latest")
		down = f.up.Fault(upstreamtest.Fault{Method: "HEAD", Path: "/manifests/" + string(httpd), Status: 500})
		if _, err := f.Manifest(insider, other, latest); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Manifest(stranger, other, latest); !errors.Is(err, core.ErrUnauthorized) {
			t.Errorf("fetched with credentials, never asked: %v, want %v", err, core.ErrUnauthorized)
		}
		down.Lift()
		time.Sleep(time.Minute)
		if _, err := f.Manifest(stranger, other, latest); err != nil {
			t.Errorf("asked: %v, want it served", err)
		}
		// A public answer holds for max_stale, and not longer.
		f.network.Refuse(f.up.Registry, true)
		time.Sleep(29 * 24 * time.Hour)
		if _, err := f.Manifest(stranger, other, latest); err != nil {
			t.Errorf("upstream gone for 29 days: %v, want it served", err)
		}
		time.Sleep(2 * 24 * time.Hour)
		if _, err := f.Manifest(stranger, other, core.Reference{Digest: httpd}); !errors.Is(err, core.ErrUnauthorized) {
			t.Errorf("upstream gone for 31 days: %v, want %v", err, core.ErrUnauthorized)
		}
	})
}

// Bytes that only a hidden repository holds, or is downloading, are not given to
// another: its own upstream must send them.
func TestBytesOfAHiddenRepositoryAreNotLinked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := hides(t, upstreamtest.Basic, mirror.Settings{})
		f.up.Blob("library/nginx", layer)
		if _, err := read(f, insider, secretRepo, f.blob); err != nil {
			t.Fatal(err)
		}
		f.up.Forget()
		if _, err := read(f, insider, repo, f.blob); err != nil {
			t.Fatal(err)
		}
		f.saw(t, "registry GET /v2/library/nginx/blobs/"+string(f.blob)+" basic")
	})
}

func TestPurgeAsksAgainWhatIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := hides(t, upstreamtest.Basic, mirror.Settings{})
		if _, err := f.Manifest(insider, secretRepo, latest); err != nil {
			t.Fatal(err)
		}
		f.up.Fault(upstreamtest.Fault{Method: "HEAD", Status: 401, Times: 1})
		if _, err := f.Manifest(stranger, secretRepo, latest); !errors.Is(err, core.ErrUnauthorized) {
			t.Fatal(err)
		}
		f.up.Forget()
		if err := f.DeleteTag(insider, secretRepo, "latest"); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Manifest(stranger, secretRepo, latest); !errors.Is(err, core.ErrUnauthorized) {
			t.Errorf("after a purge: %v, want %v", err, core.ErrUnauthorized)
		}
		if got := f.up.Requests(); len(got) == 0 {
			t.Error("the upstream was not asked again")
		}
	})
}

func TestAllowAndDeny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startAs(t, upstreamtest.Config{}, mirror.Settings{})
		if _, err := f.Manifest(fetch, repo, latest); err != nil {
			t.Fatal(err)
		}
		f.up.Forget()
		for _, row := range []struct {
			name        string
			allow, deny globs.Globs
			want        error
		}{
			{"what is allowed", globs.Globs{"docker.io/library/**"}, nil, nil},
			{"what another pattern allows", globs.Globs{"docker.io/team/**"}, nil, core.ErrDenied},
			{"what is denied", nil, globs.Globs{"docker.io/library/*"}, core.ErrDenied},
			{"what is allowed and denied", globs.Globs{"docker.io/**"}, globs.Globs{repo}, core.ErrDenied},
		} {
			f.SetSettings(mirror.Settings{Allow: row.allow, Deny: row.deny})
			_, err := f.Manifest(fetch, repo, latest)
			_, blobErr := f.Blob(fetch, repo, digest.FromString("none"))
			_, listErr := list(f.Tags(fetch, repo, ""))
			if !errors.Is(err, row.want) || row.want != nil && (!errors.Is(blobErr, row.want) || !errors.Is(listErr, row.want)) {
				t.Errorf("%s: got %v, %v, %v, want %v", row.name, err, blobErr, listErr, row.want)
			}
			if names, _ := list(f.Repositories(fetch, "")); slices.Contains(names, repo) != (row.want == nil) {
				t.Errorf("%s: the catalog is %q", row.name, names)
			}
			if row.want != nil {
				f.saw(t)
			}
			f.up.Forget()
		}
	})
}

func TestFreshnessIsStretchedWhenLittleIsLeftOfThePullLimit(t *testing.T) {
	for _, row := range []struct {
		name   string
		spent  int
		fresh  time.Duration
		warned bool
	}{
		{"a tenth is left", 90, 5 * time.Minute, false},
		{"a twentieth is left", 95, 10 * time.Minute, true},
		{"a hundredth is left", 99, 50 * time.Minute, true},
		{"nothing is left", 100, 6 * time.Hour, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := startAs(t, upstreamtest.Config{Kind: upstreamtest.Hub, Pulls: 100}, mirror.Settings{})
			for i := range row.spent {
				image := append(document(len(layer)), bytes.Repeat([]byte(" "), i)...)
				ref := core.Reference{Digest: f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, image, "latest")}
				if i == 0 {
					ref = latest
				}
				if _, err := f.Manifest(fetch, repo, ref); err != nil {
					t.Fatal(err)
				}
			}
			// When the window is over, the tag is checked by a HEAD, which does not
			// count as a pull and shows the limit again.
			time.Sleep(7 * time.Hour)
			if _, err := f.Manifest(fetch, repo, latest); err != nil {
				t.Fatal(err)
			}
			f.up.Forget()
			for _, at := range []struct {
				after time.Duration
				asked int
			}{{row.fresh - time.Second, 0}, {2 * time.Second, 1}} {
				time.Sleep(at.after)
				if _, err := f.Manifest(fetch, repo, latest); err != nil {
					t.Fatal(err)
				}
				got := slices.DeleteFunc(f.up.Requests(), func(r string) bool { return !strings.Contains(r, "/manifests/") })
				if len(got) != at.asked {
					t.Errorf("%s: after %s the upstream saw %q, want %d requests", row.name, at.after, got, at.asked)
				}
			}
			if n := strings.Count(f.log.String(), "little is left"); n > 1 || (n == 1) != row.warned {
				t.Errorf("%s: the log says it %d times", row.name, n)
			}
		})
	}
}

func list[T any](seq func(func(T, error) bool)) (got []T, err error) {
	for v, err := range seq {
		if err != nil {
			return got, err
		}
		got = append(got, v)
	}
	return got, nil
}
