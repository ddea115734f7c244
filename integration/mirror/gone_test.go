package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

const (
	repos    = 2
	tagsEach = 4
)

// patient is how the mirror is filled: a busy machine is not an upstream that hangs.
var patient = []string{"connect_timeout 1m", "head_timeout 1m", "stall_timeout 1m"}

// impatient makes every tag expire and every failure last: the upstream gets one request, with
// a short timeout, and then none for longer than the test runs.
var impatient = []string{"ttl 1ms", "head_timeout 500ms", "connect_timeout 500ms", "stall_timeout 1s", "breaker 1h"}

func TestStoredContentIsServedWithoutTheUpstream(t *testing.T) {
	for _, row := range []struct {
		name string
		fail func(*gate)
		// after is the upstream's URL at the restart; empty: as before.
		after string
	}{
		{"refused", (*gate).refuse, ""},
		{"black hole", (*gate).hang, ""},
		{"refused, then without a DNS entry", (*gate).refuse, "http://registry.invalid"},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := upstreamtest.New(t, upstreamtest.Config{})
			want := fill(u)
			way := newGate(t, u.Registry)
			s := server.Start(t, server.Options{Caddyfile: caddyfile(way.url(), patient...)})
			ctx := bounded(t)
			if err := served(ctx, s, want); err != nil {
				t.Fatalf("while the upstream was up: %v", err)
			}
			text := caddyfile(way.url(), impatient...)
			if err := s.Configure(text); err != nil {
				t.Fatal(err)
			}
			if err := s.Reload(ctx, t); err != nil {
				t.Fatal(err)
			}

			row.fail(way)
			u.Forget()
			if err := served(ctx, s, want); err != nil {
				t.Errorf("after the upstream went: %v", err)
			}
			alone(t, way)
			if row.after != "" {
				text = caddyfile(row.after, impatient...)
			}
			s.Kill()
			s = server.Start(t, server.Options{Caddyfile: text, Data: s.Data})
			if err := served(ctx, s, want); err != nil {
				t.Errorf("after a restart without the upstream: %v", err)
			}
			alone(t, way)
			if got := u.Requests(); len(got) != 0 {
				t.Errorf("the upstream that was gone answered %q", got)
			}
		})
	}
}

// mostAttempts on an upstream that is gone: the first question's, and one more
// because a connection that was kept for it had ended. All others do not wait.
const mostAttempts = 2

func alone(t *testing.T, way *gate) {
	t.Helper()
	if got := way.attempts(); got > mostAttempts {
		t.Errorf("the upstream was tried %d times after it was gone, want at most %d", got, mostAttempts)
	}
}

// fill gives the upstream images, and returns them by repository and tag.
func fill(u *upstreamtest.Upstream) map[string]map[string]client.Image {
	all := map[string]map[string]client.Image{}
	for r := range repos {
		repo := fmt.Sprintf("library/app%d", r)
		all[repo] = map[string]client.Image{}
		for i := range tagsEach {
			image, tag := client.NewImage(uint64(r*tagsEach+i), 2, 4<<10), fmt.Sprintf("v%d", i)
			give(u, repo, tag, image)
			all[repo][tag] = image
		}
	}
	return all
}

// served pulls every tag, verified, and looks at both kinds of lists.
func served(ctx context.Context, s *server.Server, want map[string]map[string]client.Image) error {
	c := client.New(s.URL)
	defer c.Close()
	var names []string
	for repo, images := range want {
		repo = "docker.io/" + repo
		names = append(names, repo)
		var tags []string
		for tag, image := range images {
			tags = append(tags, tag)
			if got, err := c.PullImage(ctx, repo, tag); err != nil {
				return err
			} else if got != image.Digest() {
				return fmt.Errorf("%s:%s is %s, want %s", repo, tag, got, image.Digest())
			}
		}
		var list struct{ Tags []string }
		if err := decode(ctx, c, "/v2/"+repo+"/tags/list", &list); err != nil {
			return err
		}
		if slices.Sort(tags); !slices.Equal(list.Tags, tags) {
			return fmt.Errorf("tags of %s are %q, want %q", repo, list.Tags, tags)
		}
	}
	var catalog struct{ Repositories []string }
	if err := decode(ctx, c, "/v2/_catalog", &catalog); err != nil {
		return err
	}
	if slices.Sort(names); !slices.Equal(catalog.Repositories, names) {
		return fmt.Errorf("catalog is %q, want %q", catalog.Repositories, names)
	}
	return nil
}

func decode(ctx context.Context, c *client.Client, path string, into any) error {
	response, err := c.Request(ctx, http.MethodGet, path, nil, nil, http.StatusOK)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(into)
}
