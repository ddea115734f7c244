package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"pgregory.net/rapid"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/core/globs"
	"github.com/eblume/caddy-registry/policies"
)

// Under any rules a list has what the same list for everybody has, without that of repositories
// whose own address does not answer this caller.
func TestListsHaveWhatMayBeRead(t *testing.T) {
	r := newRegistry(t)
	var repos []string
	for _, first := range []string{"a", "b/secret", "docker.io"} {
		for i := range 4 {
			repo := fmt.Sprintf("%s/app%d", first, i)
			repos = append(repos, repo)
			r.push(repo, fmt.Sprint("layer ", i%2), "v1", fmt.Sprint("v", i+2))
		}
	}
	shared := digest.FromString("layer 0")
	all := r.as(erich, everything{})
	targets := []string{
		"/api/images", "/api/images?order=push", "/api/images?order=size", "/api/images?kind=mirror", "/api/images?in=b", "/api/images?q=app1",
		"/api/images?q=:v1", "/api/images?q=a:v3&order=push", "/api/images?q=" + string(shared)[:16],
	}
	patterns := []string{"a/**", "b/**", "**", "*/app1", "docker.io/**", "b/secret/app?", "a/app0"}
	groups := []string{"admins", "ops"}
	rapid.Check(t, func(rt *rapid.T) {
		var rules []policies.Rule
		for range rapid.IntRange(0, 5).Draw(rt, "rules") {
			words := rapid.SampledFrom([][]string{{"anonymous"}, {"group", "admins"}, {"group", "ops"}, {"user", "erich"}}).Draw(rt, "who")
			who, _, err := policies.ParseSubject(words)
			if err != nil {
				rt.Fatal(err)
			}
			rules = append(rules, policies.Rule{
				Deny: rapid.Bool().Draw(rt, "deny"), Who: who, Actions: []policies.Action{policies.Read},
				On: globs.Globs(rapid.SliceOfN(rapid.SampledFrom(patterns), 0, 2).Draw(rt, "on")),
			})
		}
		who := policies.Identity{User: rapid.SampledFrom([]string{"", "erich", "ci"}).Draw(rt, "user")}
		if who.User != "" {
			who.Groups = rapid.SliceOfDistinct(rapid.SampledFrom(groups), rapid.ID).Draw(rt, "groups")
		}
		a := r.as(who, policies.NewRules(rules...))
		readable := map[string]bool{}
		for _, repo := range repos {
			var repository api.RepositoryAnswer
			status := ask(t, a, http.MethodGet, "/api/images/"+repo, &repository).Code
			readable[repo] = status == http.StatusOK
			if want := http.StatusNotFound; status != http.StatusOK && status != want && !(who.Anonymous() && status == http.StatusForbidden) {
				rt.Fatalf("%s: got status %d", repo, status)
			}
			for _, below := range []string{"/-/tags", "/-/images", ":v1", ":v1/-/history", "@" + string(shared) + "/-/users"} {
				if got := ask(t, a, http.MethodGet, "/api/images/"+repo+below, nil).Code; got != status {
					rt.Fatalf("%s: got status %d, and %d for %s", repo, status, got, below)
				}
			}
		}
		n := rapid.IntRange(1, 5).Draw(rt, "rows")
		for _, target := range targets {
			everything, _ := pages(t, all, target, 500)
			want := slices.DeleteFunc(names(everything), func(row string) bool {
				row, _, _ = strings.Cut(row, "@")
				row, _, _ = strings.Cut(row, ":")
				return !readable[row]
			})
			some, _ := pages(t, a, target, n)
			if got := names(some); !slices.Equal(got, want) && len(got)+len(want) > 0 {
				rt.Fatalf("%s: got %q, want %q", target, got, want)
			}
			for _, repo := range some.Repositories {
				if repo.OnlyHere != nil && !policies.NewRules(rules...).AllowsEverywhere(who, policies.Read) {
					rt.Fatalf("%s: %s shows what is nowhere else", target, repo.Name)
				}
			}
		}
	})
}
