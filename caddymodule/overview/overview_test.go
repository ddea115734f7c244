package overview_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/overview"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/events"
	"github.com/eblume/caddy-registry/core/hours"
	"github.com/eblume/caddy-registry/policies"
)

// fixed is a Source with these facts.
type fixed struct {
	log    *events.Log
	mirror overview.Facts
}

func (f fixed) Events(ctx context.Context, q events.Query, after string) iter.Seq2[events.Event, error] {
	return f.log.List(ctx, q, after)
}

func (f fixed) Mirror(name string) (overview.Facts, bool) { return f.mirror, name == "docker.io" }

func (f fixed) Uses(context.Context, string) ([]overview.Use, error) {
	day := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	return []overview.Use{
		{Form: "ns", Address: "192.0.2.1", Requests: 2, First: day, Last: day.Add(time.Hour)},
		{Form: "ns", Address: "192.0.2.2", Requests: 3, First: day.Add(-time.Hour), Last: day},
		{Form: "prefix", Address: "192.0.2.1", Requests: 1, First: day, Last: day},
	}, nil
}

func (f fixed) Stored() overview.Stored { return overview.Stored{} }

// hidden is a registry of mirrors that hides these repositories.
type hidden struct {
	core.Unimplemented
	repos []string
}

func (h hidden) RepositoryRow(ctx context.Context, repo string) (core.RepositoryRow, error) {
	if slices.Contains(h.repos, repo) && !core.AccessFrom(ctx).Private {
		return core.RepositoryRow{}, core.ErrNameUnknown
	}
	return core.RepositoryRow{Name: repo}, nil
}

func (h hidden) RepositoryRows(context.Context, string, core.RepositoryOrder, string) iter.Seq2[core.RepositoryRow, error] {
	return func(yield func(core.RepositoryRow, error) bool) {
		yield(core.RepositoryRow{Name: "team/app", Bytes: 7}, nil)
	}
}

func ownerOf(repo string) (string, bool) {
	if strings.HasPrefix(repo, "docker.io/") {
		return "docker.io", true
	}
	return "", true
}

func viewer(source overview.Source, rules *policies.Rules, who policies.Identity, concealed ...string) *overview.Viewer {
	v := &overview.Viewer{
		Source: source, Registry: policies.Guard(hidden{repos: concealed}, rules, who), Policy: rules, Who: who, Owner: ownerOf,
		Credentialed: func(string) bool { return len(concealed) > 0 },
	}
	if rules.MayWithin(who, policies.Read, "docker.io/**") {
		v.Mirrors = []string{"docker.io"}
	}
	return v
}

func rulesOf(t testing.TB, lines ...string) *policies.Rules {
	t.Helper()
	var rules []policies.Rule
	for _, line := range lines {
		words := strings.Fields(line)
		rule, err := policies.ParseRule(words[0] == "deny", words[1:])
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		rules = append(rules, rule)
	}
	return policies.NewRules(rules...)
}

// listed is what a caller sees of the activity, over all pages.
func listed(t testing.TB, v *overview.Viewer, q events.Query) (got []overview.Event) {
	t.Helper()
	after := ""
	for {
		var pause *core.Pause
		for e, err := range v.Activity(t.Context(), q, after) {
			if errors.As(err, &pause) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			e.Time, e.At = time.Time{}, ""
			got = append(got, e)
		}
		if pause == nil {
			return got
		}
		after = pause.After
	}
}

// A list of events is the same query over the events that the caller may see, under any policy.
func TestActivityIsTheQueryOverWhatMayBeSeen(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	log := events.Open(events.Config{})
	defer log.Close()
	repos := []string{"team/app", "team/web", "secret/app", "docker.io/library/nginx", "docker.io/me/hidden"}
	kinds := []string{"push", "overwrite", "delete", "denied", "login", "login_refused", "key_made", "gc"}
	var truth []events.Event
	for i := range 3000 {
		e := events.Event{
			Kind: pick(kinds...), User: pick("ada", "ci", ""), Credential: "key 1", Address: "192.0.2.1", Text: fmt.Sprint(i),
		}
		switch e.Kind {
		case "push", "overwrite", "delete", "denied":
			e.Repo = pick(repos...)
		case "key_made":
			e.Subject = "key 2 of ada"
		}
		log.Add(e)
		truth = append(truth, e)
	}
	source := fixed{log: log}
	admins := 0
	for range 60 {
		var lines []string
		for range 1 + random.IntN(4) {
			line := pick("allow ", "allow ", "deny ") + pick("anonymous", "signed_in", "user ada", "group staff") + " " + pick("read", "read create", "*")
			if random.IntN(3) > 0 {
				line += " on " + pick("team/**", "secret/*", "docker.io/**", "docker.io/library/*", "**", "team/app")
			}
			lines = append(lines, line)
		}
		rules := rulesOf(t, lines...)
		for _, who := range []policies.Identity{{}, {User: "ada"}, {User: "eve", Groups: []string{"staff"}}} {
			v := viewer(source, rules, who, "docker.io/me/hidden")
			admin := rules.Allows(who, policies.Admin, "")
			if admin {
				admins++
			}
			q := events.Query{Repo: pick("", "", repos[random.IntN(len(repos))]), User: pick("", "", "ada"), Kind: pick("", "", kinds[random.IntN(len(kinds))])}
			var want []overview.Event
			for _, e := range slices.Backward(truth) {
				asked := (q.Repo == "" || q.Repo == e.Repo) && (q.User == "" || q.User == e.User) && (q.Kind == "" || q.Kind == e.Kind)
				may := admin || e.Repo != "" && e.Kind != "denied" && rules.Allows(who, policies.Read, e.Repo) && e.Repo != "docker.io/me/hidden" &&
					(q.User == "" || !who.Anonymous())
				if !asked || !may {
					continue
				}
				shown := overview.Event{Kind: e.Kind, Repository: e.Repo, User: e.User, Text: e.Text}
				if admin {
					shown.Credential, shown.Address, shown.Subject = e.Credential, e.Address, e.Subject
				} else if who.Anonymous() {
					shown.User = ""
				}
				want = append(want, shown)
			}
			if got := listed(t, v, q); !slices.Equal(got, want) {
				t.Fatalf("%q asks for %+v under %q: got %d events, want %d", who.User, q, lines, len(got), len(want))
			}
		}
	}
	if admins == 0 {
		t.Error("no policy had an administrator")
	}
}

func TestFiguresOfAMirrorAreForThoseWhoMayReadAllOfIt(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Hour)
	facts := overview.Facts{
		State: "away", Reason: "the upstream cannot be reached", Details: "GET x at hub.example: connection refused", Held: 5, MaxSize: 9,
		Since: now.Add(-2 * time.Hour),
		Hours: []hours.Hour{
			{Begin: now.Add(-30 * time.Hour), Counts: hours.Counts{Asked: 100, Held: 1}},
			{Begin: now.Add(-time.Hour), Counts: hours.Counts{Asked: 10, Stale: 4}},
			{Begin: now, Counts: hours.Counts{Asked: 1, Held: 1}},
		},
		Downloads: []overview.Fetching{{Repos: []string{"docker.io/me/hidden", "docker.io/library/nginx"}, Digest: "sha256:1", Held: 1, Size: 2}},
		Next:      []overview.Due{{Repository: "docker.io/library/nginx"}, {Repository: "docker.io/me/hidden"}},
	}
	source := fixed{mirror: facts}
	for _, row := range []struct {
		name          string
		rules         []string
		who           policies.Identity
		hidden        []string
		shown, whole  bool
		admin         bool
		running, next []string
	}{
		{"everything", []string{"allow anonymous read"}, policies.Identity{}, nil, true, true, false, []string{"docker.io/me/hidden"}, []string{"docker.io/library/nginx", "docker.io/me/hidden"}},
		{"all of the mirror", []string{"allow anonymous read on docker.io/**"}, policies.Identity{}, nil, true, true, false, []string{"docker.io/me/hidden"}, []string{"docker.io/library/nginx", "docker.io/me/hidden"}},
		{"a part", []string{"allow anonymous read on docker.io/library/**"}, policies.Identity{}, nil, true, false, false, []string{"docker.io/library/nginx"}, []string{"docker.io/library/nginx"}},
		{"all but a part", []string{"allow anonymous read", "deny anonymous read on docker.io/me/**"}, policies.Identity{}, nil, true, false, false, []string{"docker.io/library/nginx"}, []string{"docker.io/library/nginx"}},
		{"what upstreams hide", []string{"allow anonymous read"}, policies.Identity{}, []string{"docker.io/me/hidden"}, true, false, false, []string{"docker.io/library/nginx"}, []string{"docker.io/library/nginx"}},
		{"a key for a part", []string{"allow signed_in read"}, policies.Identity{User: "ada", Narrow: &policies.Narrowing{On: []string{"docker.io/library/*"}}}, nil, true, false, false, []string{"docker.io/library/nginx"}, []string{"docker.io/library/nginx"}},
		{"an administrator who may not pull what upstreams hide",
			[]string{"allow group admins read create update delete admin"}, policies.Identity{User: "ada", Groups: []string{"admins"}},
			[]string{"docker.io/me/hidden"}, true, true, true, []string{"docker.io/library/nginx"}, []string{"docker.io/library/nginx"}},
		{"something else", []string{"allow anonymous read on team/**"}, policies.Identity{}, nil, false, false, false, nil, nil},
		{"an administrator", []string{"allow user ada *"}, policies.Identity{User: "ada"}, nil, true, true, true, []string{"docker.io/me/hidden"}, []string{"docker.io/library/nginx", "docker.io/me/hidden"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			v := viewer(source, rulesOf(t, row.rules...), row.who, row.hidden...)
			all := v.All()
			detail, err := v.One(t.Context(), "docker.io")
			if !row.shown {
				if len(all) != 0 || !errors.Is(err, core.ErrNameUnknown) {
					t.Errorf("got %v and %v", all, err)
				}
				return
			}
			if err != nil || len(all) != 1 {
				t.Fatalf("got %v and %v", all, err)
			}
			for _, m := range []overview.Mirror{all[0], detail.Mirror} {
				if (m.Figures != nil) != row.whole {
					t.Errorf("figures are %+v", m.Figures)
				}
				if wants := map[bool]string{false: facts.Reason, true: facts.Details}[row.admin]; m.Reason != wants {
					t.Errorf("the reason is %q", m.Reason)
				}
			}
			if f := detail.Figures; f != nil && (f.Day.Asked != 11 || f.Month.Asked != 111 || f.Alone.Here() != 5 || *f.Held != 5) {
				t.Errorf("got %+v", f)
			}
			if (len(detail.Hours) > 0) != row.whole || (len(detail.Uses) > 0) != row.whole {
				t.Errorf("got %d hours, %d clients", len(detail.Hours), len(detail.Uses))
			}
			for _, use := range detail.Uses {
				if (use.Address != "") != row.admin {
					t.Errorf("got %+v", use)
				}
				if !row.admin && use.Form == "ns" && use.Requests != 5 {
					t.Errorf("got %+v", use)
				}
			}
			var running, next []string
			for _, one := range detail.Running {
				running = append(running, one.Repository)
			}
			for _, one := range detail.Next {
				next = append(next, one.Repository)
			}
			if !slices.Equal(running, row.running) || !slices.Equal(next, row.next) {
				t.Errorf("got downloads of %v, and %v next", running, next)
			}
		})
	}
}

func TestTheStorageIsForAdministrators(t *testing.T) {
	log := events.Open(events.Config{})
	defer log.Close()
	for i := range 3 {
		log.Add(events.Event{Kind: "gc", Text: fmt.Sprint(i)})
	}
	rules := rulesOf(t, "allow anonymous read create update delete", "allow user ada *")
	if _, err := viewer(fixed{log: log}, rules, policies.Identity{}).Storage(t.Context()); !errors.Is(err, core.ErrNameUnknown) {
		t.Errorf("got %v for an anonymous caller", err)
	}
	got, err := viewer(fixed{log: log}, rules, policies.Identity{User: "ada"}).Storage(t.Context())
	if err != nil || len(got.Rounds) != 1 || got.Rounds[0].Text != "2" || len(got.Largest) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}
