package pages_test

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/overview"
	"github.com/eblume/caddy-registry/caddymodule/pages"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/events"
	"github.com/eblume/caddy-registry/policies"
)

// counted is a storage of which this is known, and without a past.
type counted struct {
	overview.Source
	stored overview.Stored
}

func (c counted) Stored() overview.Stored { return c.stored }

func (counted) Events(context.Context, events.Query, string) iter.Seq2[events.Event, error] {
	return func(func(events.Event, error) bool) {}
}

// everything is a policy of administrators.
type everything struct{}

func (everything) Allows(policies.Identity, policies.Action, string) bool { return true }

func TestThePageOfTheStorageSaysWhatWaits(t *testing.T) {
	now := time.Now()
	hourAgo := now.Add(-61 * time.Minute)
	freed, waiting := &overview.Amount{Objects: 1, Bytes: 2_000_000}, &overview.Amount{Objects: 1203, Bytes: 7_000_000}
	for name, row := range map[string]struct {
		collector overview.Collector
		has       string
	}{
		"before the first": {
			overview.Collector{Next: time.Date(2099, 1, 2, 3, 4, 5, 0, time.UTC)},
			"No collection has run since the start, so it is not known how much content nothing keeps. " +
				"The first collection is due 2099-01-02 03:04 UTC.",
		},
		"due": {overview.Collector{Next: hourAgo}, "The first collection is due now."},
		"something waits": {
			overview.Collector{Next: time.Date(2099, 1, 2, 3, 4, 5, 0, time.UTC), Ended: hourAgo, Freed: freed, Waiting: waiting},
			"The last collection ended 1 hour ago and freed 2.00 MB in 1 object. It left 7.00 MB in 1,203 objects that nothing " +
				"keeps, until their grace is over. The next collection is due 2099-01-02 03:04 UTC.",
		},
		"nothing waits": {
			overview.Collector{Ended: hourAgo, Freed: new(overview.Amount), Waiting: new(overview.Amount)},
			"and freed nothing. Nothing was left to wait for the end of its grace. The next",
		},
		"it failed": {
			overview.Collector{Ended: hourAgo, Early: true, Freed: freed},
			"The last collection ended early, 1 hour ago, so it is not known how much content nothing keeps. " +
				"It freed 2.00 MB in 1 object. The log says why it ended.",
		},
	} {
		status, text := openAsAdmin(&shelf{state: core.CatalogState{Whole: true}}, overview.Stored{Collector: row.collector}, pages.StoragePath)
		if status != http.StatusOK || !strings.Contains(text, row.has) {
			t.Errorf("%s: got %d, want %q in:\n%s", name, status, row.has, text)
		}
	}
}

// openAsAdmin returns the text of a page that an administrator opens.
func openAsAdmin(s core.Registry, stored overview.Stored, path string) (status int, text string) {
	site := &pages.Site{
		Registry: s, Private: s, Mirrors: []string{"quay.io"}, Who: policies.Identity{User: "ada"}, Host: "registry.test",
		Cursors: backwards{}, Log: slog.New(slog.DiscardHandler),
		View: &overview.Viewer{Source: counted{stored: stored}, Registry: s, Policy: everything{}},
	}
	answer := httptest.NewRecorder()
	site.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	text = regexp.MustCompile(`<[^>]*>`).ReplaceAllString(answer.Body.String(), "")
	return answer.Code, strings.Join(strings.Fields(text), " ")
}

// bare is a registry whose catalog has no rows.
type bare struct{ shelf }

func (*bare) RepositoryRows(context.Context, string, core.RepositoryOrder, string) iter.Seq2[core.RepositoryRow, error] {
	return func(func(core.RepositoryRow, error) bool) {}
}

// As long as the index is being built, no page says that there is nothing.
func TestNothingIsKnownWhileTheIndexIsBeingBuilt(t *testing.T) {
	for _, row := range []struct{ path, empty, building string }{
		{"/", "Nothing is here yet", "What is held appears here as soon as it is described."},
		{"/", "nothing is held yet", "quay.io: mirrored. A pull of registry.test/quay.io/name brings an image."},
		{"/images", "Nothing is here that you may see.", "Nothing of this is described yet."},
		{"/images?q=app", "Nothing here has this name", "Nothing of this is described yet."},
		{pages.StoragePath, "Nothing is held.", "Nothing is described yet."},
	} {
		for _, whole := range []bool{true, false} {
			b := &bare{shelf{state: core.CatalogState{Whole: whole, Manifests: 7}}}
			status, text := openAsAdmin(b, overview.Stored{}, row.path)
			if status != http.StatusOK || strings.Contains(text, row.empty) != whole || strings.Contains(text, row.building) == whole {
				t.Errorf("%s, whole: %t: got %d with\n%s", row.path, whole, status, text)
			}
		}
	}
}
