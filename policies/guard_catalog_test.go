package policies

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/globs"
)

func rule(who Subject, deny bool, on ...string) Rule {
	return Rule{Deny: deny, Who: who, Actions: []Action{Read}, On: globs.Globs(on)}
}

func subject(t *testing.T, words ...string) Subject {
	t.Helper()
	s, rest, err := ParseSubject(words)
	if err != nil || len(rest) > 0 {
		t.Fatalf("%q: got %v and %q left", words, err, rest)
	}
	return s
}

func TestSumsAreForThoseWhoMayReadEverything(t *testing.T) {
	all, group := subject(t, "anonymous"), subject(t, "group", "ops")
	member := Identity{User: "ci", Groups: []string{"ops"}}
	for _, row := range []struct {
		name  string
		who   Identity
		rules []Rule
		want  bool
	}{
		{"a rule without patterns", anonymous, []Rule{rule(all, false)}, true},
		{"a rule for everything, as a pattern", anonymous, []Rule{rule(all, false, "**")}, true},
		{"a pattern", anonymous, []Rule{rule(all, false, "team/**")}, false},
		{"somebody else's rule", anonymous, []Rule{rule(group, false)}, false},
		{"a pattern and a group's rule", member, []Rule{rule(all, false, "team/**"), rule(group, false)}, true},
		{"a refusal of a part", member, []Rule{rule(all, false), rule(group, true, "secret/**")}, false},
		{"a credential for a part", Identity{User: "ci", Narrow: &Narrowing{On: globs.Globs{"team/**"}}}, []Rule{rule(all, false)}, false},
		{"a credential that does not read", Identity{User: "ci", Narrow: &Narrowing{Actions: []Action{Create}}}, []Rule{rule(all, false)}, false},
		{"a credential that reads", Identity{User: "ci", Narrow: &Narrowing{Actions: []Action{Read}}}, []Rule{rule(all, false)}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			policy := NewRules(row.rules...)
			if got := policy.AllowsEverywhere(row.who, Read); got != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
			g := Guard(&recorder{repos: []string{"team/app"}}, policy, row.who)
			if !policy.Allows(row.who, Read, "team/app") {
				return
			}
			one, err := g.RepositoryRow(t.Context(), "team/app")
			if err != nil || (one.OnlyHere == 1) != row.want {
				t.Errorf("a repository: got %+v and error %v", one, err)
			}
			list, err := collect(g.RepositoryRows(t.Context(), "", core.RepositoriesByName, ""))
			if err != nil || len(list) != 1 || (list[0].OnlyHere == 1) != row.want {
				t.Errorf("the list: got %+v and error %v", list, err)
			}
			named, err := g.ImageNames(t.Context(), "team/app", content)
			if err != nil || named[0].Elsewhere == row.want {
				t.Errorf("what is named: got %+v and error %v", named, err)
			}
			state, err := g.CatalogState(t.Context())
			if err != nil || (state.Manifests == 2) != row.want {
				t.Errorf("the state: got %+v and error %v", state, err)
			}
		})
	}
}

// Mirrors share content: a figure about one of their repositories would reveal that another holds
// something, though its upstream hides that.
func TestSumsOfMirrorsAreForThoseWhoSeeWhatIsHidden(t *testing.T) {
	for _, row := range []struct {
		name       string
		concealing []string
		rules      []string
		reveal     string // on what
		who        Identity
		want       bool // of what mirrors have
	}{
		{"nothing is hidden", nil, nil, "", Identity{}, true},
		{"everything is read", []string{"ghcr.io"}, nil, "", Identity{}, false},
		{"one who sees it", []string{"ghcr.io"}, nil, "ghcr.io/**", Identity{User: "ada"}, true},
		{"one who sees a part of it", []string{"ghcr.io"}, nil, "ghcr.io/team/**", Identity{User: "ada"}, false},
		{"one who sees it in one of two", []string{"docker.io", "ghcr.io"}, nil, "ghcr.io/**", Identity{User: "ada"}, false},
		{"another user", []string{"ghcr.io"}, nil, "ghcr.io/**", Identity{User: "eve"}, false},
		{"an administrator", []string{"ghcr.io"}, []string{"user root *"}, "", Identity{User: "root"}, true},
		{"a key that only reads, of one who sees it", []string{"ghcr.io"}, nil, "ghcr.io/**",
			Identity{User: "ada", Narrow: &Narrowing{Actions: []Action{Read}}}, true},
		{"a key that only reads, of an administrator", []string{"ghcr.io"}, []string{"user root *"}, "",
			Identity{User: "root", Narrow: &Narrowing{Actions: []Action{Read}}}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			rules := []Rule{rule(subject(t, "anonymous"), false)}
			for _, line := range row.rules {
				one, err := ParseRule(false, strings.Fields(line))
				if err != nil {
					t.Fatal(err)
				}
				rules = append(rules, one)
			}
			if row.reveal != "" {
				rules = append(rules, Rule{Who: subject(t, "user", "ada"), Actions: []Action{Reveal}, On: globs.Globs{row.reveal}})
			}
			policy := NewRules(rules...).Mirrors([]string{"docker.io", "ghcr.io"}, row.concealing)
			repos := []string{"docker.io/library/nginx", "ghcr.io/team/app", "team/app"}
			g := Guard(&recorder{repos: repos}, policy, row.who)
			for _, repo := range repos {
				want := row.want || repo == "team/app" // mirrors share nothing with it
				one, err := g.RepositoryRow(t.Context(), repo)
				if err != nil || (one.OnlyHere == 1) != want {
					t.Errorf("%s: got %+v and error %v, want its figures %v", repo, one, err, want)
				}
				named, err := g.ImageNames(t.Context(), repo, content)
				if err != nil || named[0].Elsewhere == want {
					t.Errorf("what is named in %s: got %+v and error %v", repo, named, err)
				}
			}
			list, err := collect(g.RepositoryRows(t.Context(), "", core.RepositoriesByName, ""))
			if err != nil || len(list) != len(repos) {
				t.Fatalf("the list: got %+v and error %v", list, err)
			}
			for _, one := range list {
				if want := row.want || one.Name == "team/app"; (one.OnlyHere == 1) != want {
					t.Errorf("the list: got %+v, want its figures %v", one, want)
				}
			}
			state, err := g.CatalogState(t.Context())
			if err != nil || (state.Manifests == 2) != row.want {
				t.Errorf("the state: got %+v and error %v", state, err)
			}
		})
	}
}

func TestRowsAreOfWhatMayBeRead(t *testing.T) {
	g := Guard(&recorder{repos: []string{"a", "b", "c"}}, grants{"read a", "read c"}, ci)
	rows, err := collect(g.RepositoryRows(t.Context(), "", core.RepositoriesByPush, ""))
	var got []string
	for _, row := range rows {
		got = append(got, row.Name)
	}
	content, contentErr := collect(g.ContentRows(t.Context(), "sha256:abcdef", ""))
	for _, row := range content {
		got = append(got, row.Repo)
	}
	if want := []string{"a", "c", "a", "c"}; err != nil || contentErr != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v and %v, want %q", got, err, contentErr, want)
	}
}

func TestNamesOfPeopleAreForThoseWhoSignedIn(t *testing.T) {
	for _, row := range []struct {
		who  Identity
		want string
	}{{anonymous, ""}, {ci, "erich"}} {
		g := Guard(&recorder{}, everybody(Read), row.who)
		tag, err := g.TagRow(t.Context(), "here", "v1")
		image, imageErr := g.ImageRow(t.Context(), "here", "")
		repository, repositoryErr := g.RepositoryRow(t.Context(), "here")
		if err := errors.Join(err, imageErr, repositoryErr); err != nil {
			t.Fatal(err)
		}
		for what, got := range map[string]string{
			"tag": tag.By, "tag before": tag.Before[0].By, "pull of the tag": tag.Pulls.By, "its image": tag.Image.By,
			"pull of its image": tag.Image.Pulls.By, "pull of an image": image.Pulls.By, "pull of a repository": repository.Pulls.By,
		} {
			if got != row.want {
				t.Errorf("%s: %s: got the name %q, want %q", row.who, what, got, row.want)
			}
		}
	}
}

// Figures of a whole mirror are only for those who may read all of it.
func TestAllowsWithinAMirror(t *testing.T) {
	library := &Narrowing{On: globs.Globs{"docker.io/library/*"}}
	for _, row := range []struct {
		name  string
		rules []string
		who   Identity
		want  bool
	}{
		{"no rule", nil, Identity{}, false},
		{"everything", []string{"allow anonymous read"}, Identity{}, true},
		{"every name", []string{"allow anonymous read on **"}, Identity{}, true},
		{"the mirror", []string{"allow anonymous read on team/** docker.io/**"}, Identity{}, true},
		{"another mirror", []string{"allow anonymous read on quay.io/**"}, Identity{}, false},
		{"a part", []string{"allow anonymous read on docker.io/library/*"}, Identity{}, false},
		{"somebody else", []string{"allow user ada read"}, Identity{User: "eve"}, false},
		{"another action", []string{"allow anonymous fetch"}, Identity{}, false},
		{"but a part", []string{"allow anonymous read", "deny anonymous read on docker.io/secret/**"}, Identity{}, false},
		{"but a part of any", []string{"allow anonymous read", "deny anonymous read on */secret/**"}, Identity{}, false},
		{"but something elsewhere", []string{"allow anonymous read", "deny anonymous read on team/**"}, Identity{}, true},
		{"a key for a part", []string{"allow user ada read"}, Identity{User: "ada", Narrow: library}, false},
		{"a key for the mirror", []string{"allow user ada read"}, Identity{User: "ada", Narrow: &Narrowing{On: globs.Globs{"docker.io/**"}}}, true},
		{"a key that does not read", []string{"allow user ada *"}, Identity{User: "ada", Narrow: &Narrowing{Actions: []Action{Create}}}, false},
		{"a key that reads", []string{"allow user ada *"}, Identity{User: "ada", Narrow: &Narrowing{Actions: []Action{Read}}}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			var rules []Rule
			for _, line := range row.rules {
				words := strings.Fields(line)
				rule, err := ParseRule(words[0] == "deny", words[1:])
				if err != nil {
					t.Fatal(err)
				}
				rules = append(rules, rule)
			}
			if got := NewRules(rules...).AllowsWithin(row.who, Read, "docker.io"); got != row.want {
				t.Errorf("got %t, want %t", got, row.want)
			}
		})
	}
}
