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
		s := &shelf{state: core.CatalogState{Whole: true}}
		site := &pages.Site{
			Registry: s, Private: s, Who: policies.Identity{User: "ada"}, Host: "registry.test", Cursors: backwards{},
			View: &overview.Viewer{
				Source: counted{stored: overview.Stored{Collector: row.collector}}, Registry: s, Policy: everything{},
			},
			Log: slog.New(slog.DiscardHandler),
		}
		answer := httptest.NewRecorder()
		site.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, pages.StoragePath, nil))
		text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(answer.Body.String(), "")
		if text = strings.Join(strings.Fields(text), " "); answer.Code != http.StatusOK || !strings.Contains(text, row.has) {
			t.Errorf("%s: got %d, want %q in:\n%s", name, answer.Code, row.has, text)
		}
	}
}
