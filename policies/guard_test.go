package policies

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// recorder is a Registry that succeeds at everything and writes down what reached it.
type recorder struct {
	core.Unimplemented // but for the methods that lists of all repositories have
	calls              []string
	put                core.ManifestPut
	access             core.Access
	repos              []string
	holders            []string
	// mountErr answers a mount from that repository.
	mountErr map[string]error
}

func (r *recorder) record(ctx context.Context, call ...any) {
	r.calls = append(r.calls, strings.TrimSpace(fmt.Sprintln(call...)))
	r.access = core.AccessFrom(ctx)
}

func (r *recorder) Resolve(ctx context.Context, repo string, ref core.Reference) (core.Descriptor, error) {
	r.record(ctx, "Resolve", repo, ref)
	return core.Descriptor{}, nil
}

func (r *recorder) Manifest(ctx context.Context, repo string, ref core.Reference) (core.Manifest, error) {
	r.record(ctx, "Manifest", repo, ref)
	return core.Manifest{}, nil
}

func (r *recorder) Stat(ctx context.Context, repo string, _ digest.Digest) (core.Descriptor, error) {
	r.record(ctx, "Stat", repo)
	return core.Descriptor{}, nil
}

func (r *recorder) Blob(ctx context.Context, repo string, _ digest.Digest) (core.Blob, error) {
	r.record(ctx, "Blob", repo)
	return nil, nil
}

func (r *recorder) PutManifest(ctx context.Context, repo string, put core.ManifestPut) (core.ManifestResult, error) {
	r.record(ctx, "PutManifest", repo)
	r.put = put
	return core.ManifestResult{}, nil
}

func (r *recorder) AdmitManifest(ctx context.Context, repo string) error {
	r.record(ctx, "AdmitManifest", repo)
	return nil
}

func (r *recorder) Mount(ctx context.Context, repo, from string, _ digest.Digest) (core.Descriptor, error) {
	r.record(ctx, "Mount", repo, "from", from)
	return core.Descriptor{}, r.mountErr[from]
}

func (r *recorder) NewUpload(ctx context.Context, repo string, _ digest.Algorithm) (core.Upload, error) {
	r.record(ctx, "NewUpload", repo)
	return nil, nil
}

func (r *recorder) Upload(ctx context.Context, repo, _ string) (core.Upload, error) {
	r.record(ctx, "Upload", repo)
	return nil, nil
}

func (r *recorder) DeleteTag(ctx context.Context, repo, _ string) error {
	r.record(ctx, "DeleteTag", repo)
	return nil
}

func (r *recorder) DeleteManifest(ctx context.Context, repo string, _ digest.Digest) error {
	r.record(ctx, "DeleteManifest", repo)
	return nil
}

func (r *recorder) DeleteBlob(ctx context.Context, repo string, _ digest.Digest) error {
	r.record(ctx, "DeleteBlob", repo)
	return nil
}

func (r *recorder) Repositories(context.Context, string) iter.Seq2[string, error] {
	return sequence(r.repos)
}

func (r *recorder) Tags(ctx context.Context, repo, _ string) iter.Seq2[string, error] {
	r.record(ctx, "Tags", repo)
	return sequence([]string{"v1"})
}

func (r *recorder) Referrers(ctx context.Context, repo string, _ digest.Digest, _ string, _ digest.Digest) iter.Seq2[core.Descriptor, error] {
	r.record(ctx, "Referrers", repo)
	return sequence([]core.Descriptor{{}})
}

func (r *recorder) Holders(context.Context, digest.Digest) iter.Seq2[string, error] {
	return sequence(r.holders)
}

func (r *recorder) RepositoryRow(ctx context.Context, repo string) (core.RepositoryRow, error) {
	r.record(ctx, "RepositoryRow", repo)
	return core.RepositoryRow{Name: repo, OnlyHere: 1, Pulls: core.PullCount{By: "erich"}}, nil
}

func (r *recorder) TagRows(ctx context.Context, repo string, _ core.TagOrder, _ string) iter.Seq2[core.TagRow, error] {
	r.record(ctx, "TagRows", repo)
	return sequence([]core.TagRow{{Name: "v1"}})
}

func (r *recorder) TagRow(ctx context.Context, repo, tag string) (core.TagRow, error) {
	r.record(ctx, "TagRow", repo)
	person := core.TagState{By: "erich"}
	pulls := core.PullCount{N: 1, By: "erich"}
	image := core.ImageRow{ImageFacts: core.ImageFacts{By: "erich"}, Pulls: pulls}
	return core.TagRow{Name: tag, TagState: person, Before: []core.TagState{person}, Image: image, Pulls: pulls}, nil
}

func (r *recorder) ImageRows(ctx context.Context, repo, _ string) iter.Seq2[core.ImageRow, error] {
	r.record(ctx, "ImageRows", repo)
	return sequence([]core.ImageRow{{}})
}

func (r *recorder) ImageRow(ctx context.Context, repo string, _ digest.Digest) (core.ImageRow, error) {
	r.record(ctx, "ImageRow", repo)
	return core.ImageRow{Pulls: core.PullCount{By: "erich"}}, nil
}

func (r *recorder) ImageNames(ctx context.Context, repo string, _ digest.Digest) ([]core.NamedRow, error) {
	r.record(ctx, "ImageNames", repo)
	return []core.NamedRow{{Users: 1}}, nil
}

func (r *recorder) DigestTags(ctx context.Context, repo string, _ digest.Digest, _ string) iter.Seq2[string, error] {
	r.record(ctx, "DigestTags", repo)
	return sequence([]string{"v1"})
}

func (r *recorder) UserRows(ctx context.Context, repo string, _ digest.Digest, _ string) iter.Seq2[core.ContentRow, error] {
	r.record(ctx, "UserRows", repo)
	return sequence([]core.ContentRow{{}})
}

func (r *recorder) RepositoryRows(context.Context, string, core.RepositoryOrder, string) iter.Seq2[core.RepositoryRow, error] {
	var rows []core.RepositoryRow
	for _, repo := range r.repos {
		rows = append(rows, core.RepositoryRow{At: repo, Name: repo, OnlyHere: 1})
	}
	return sequence(rows)
}

func (r *recorder) ContentRows(context.Context, string, string) iter.Seq2[core.ContentRow, error] {
	var rows []core.ContentRow
	for _, repo := range r.repos {
		rows = append(rows, core.ContentRow{At: repo, Repo: repo})
	}
	return sequence(rows)
}

func (r *recorder) CatalogState(context.Context) (core.CatalogState, error) {
	return core.CatalogState{Described: 1, Manifests: 2}, nil
}

func sequence[T any](values []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range values {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// grants is a policy of lines "<action> <repo>", for everybody.
type grants []string

func (g grants) Allows(_ Identity, action Action, repo string) bool {
	return slices.Contains(g, action.String()+" "+repo)
}

// everybody is a policy that allows the actions to every identity in every repository.
func everybody(actions ...Action) Policy {
	var set allowed
	for _, a := range actions {
		set |= 1 << a
	}
	return set
}

// allowed has a bit for each action.
type allowed uint8

func (set allowed) Allows(who Identity, action Action, repo string) bool {
	return set&(1<<action) != 0 && who.Narrow.permits(action, repo)
}

var (
	anonymous = Identity{}
	ci        = Identity{User: "ci"}
	content   = digest.FromString("content")
)

// calls reach a guard by every method that acts in one repository, "here".
var calls = []struct {
	method string
	needs  Action
	call   func(core.Registry) error
}{
	{"Resolve", Read, func(r core.Registry) error {
		_, err := r.Resolve(context.Background(), "here", core.Reference{Tag: "v1"})
		return err
	}},
	{"Manifest", Read, func(r core.Registry) error {
		_, err := r.Manifest(context.Background(), "here", core.Reference{Tag: "v1"})
		return err
	}},
	{"Stat", Read, func(r core.Registry) error {
		_, err := r.Stat(context.Background(), "here", content)
		return err
	}},
	{"Blob", Read, func(r core.Registry) error {
		_, err := r.Blob(context.Background(), "here", content)
		return err
	}},
	{"Tags", Read, func(r core.Registry) error {
		_, err := collect(r.Tags(context.Background(), "here", ""))
		return err
	}},
	{"Referrers", Read, func(r core.Registry) error {
		_, err := collect(r.Referrers(context.Background(), "here", content, "", ""))
		return err
	}},
	{"RepositoryRow", Read, func(r core.Registry) error {
		_, err := r.RepositoryRow(context.Background(), "here")
		return err
	}},
	{"TagRows", Read, func(r core.Registry) error {
		_, err := collect(r.TagRows(context.Background(), "here", core.TagsByName, ""))
		return err
	}},
	{"TagRow", Read, func(r core.Registry) error {
		_, err := r.TagRow(context.Background(), "here", "v1")
		return err
	}},
	{"ImageRows", Read, func(r core.Registry) error {
		_, err := collect(r.ImageRows(context.Background(), "here", ""))
		return err
	}},
	{"ImageRow", Read, func(r core.Registry) error {
		_, err := r.ImageRow(context.Background(), "here", content)
		return err
	}},
	{"ImageNames", Read, func(r core.Registry) error {
		_, err := r.ImageNames(context.Background(), "here", content)
		return err
	}},
	{"DigestTags", Read, func(r core.Registry) error {
		_, err := collect(r.DigestTags(context.Background(), "here", content, ""))
		return err
	}},
	{"UserRows", Read, func(r core.Registry) error {
		_, err := collect(r.UserRows(context.Background(), "here", content, ""))
		return err
	}},
	{"PutManifest", Create, func(r core.Registry) error {
		_, err := r.PutManifest(context.Background(), "here", core.ManifestPut{Tags: []string{"v1"}})
		return err
	}},
	{"AdmitManifest", Create, func(r core.Registry) error {
		return core.AdmitManifest(context.Background(), r, "here")
	}},
	{"Mount", Create, func(r core.Registry) error {
		_, err := r.Mount(context.Background(), "here", "here", content)
		return err
	}},
	{"NewUpload", Create, func(r core.Registry) error {
		_, err := r.NewUpload(context.Background(), "here", digest.SHA256)
		return err
	}},
	{"Upload", Create, func(r core.Registry) error {
		_, err := r.Upload(context.Background(), "here", "id")
		return err
	}},
	{"DeleteTag", Delete, func(r core.Registry) error {
		return r.DeleteTag(context.Background(), "here", "v1")
	}},
	{"DeleteManifest", Delete, func(r core.Registry) error {
		return r.DeleteManifest(context.Background(), "here", content)
	}},
	{"DeleteBlob", Delete, func(r core.Registry) error {
		return r.DeleteBlob(context.Background(), "here", content)
	}},
}

func collect[T any](seq iter.Seq2[T, error]) (values []T, err error) {
	for v, err := range seq {
		if err != nil {
			return values, err
		}
		values = append(values, v)
	}
	return values, nil
}

func TestGuardDecidesBeforeAsking(t *testing.T) {
	for _, c := range calls {
		everything := everybody(Actions...)
		needed := grants{"read here", c.needs.String() + " here"}
		elsewhere := grants{"read there", c.needs.String() + " there"}
		// Everything except the action that is needed.
		var others []Action
		for _, a := range Actions {
			if a != c.needs {
				others = append(others, a)
			}
		}
		withheld := core.ErrDenied
		if c.needs == Read {
			withheld = core.ErrNameUnknown
		}
		for _, row := range []struct {
			name   string
			who    Identity
			policy Policy
			want   *core.Error
		}{
			{"anonymous with every right", anonymous, everything, nil},
			{"anonymous with the right needed", anonymous, needed, nil},
			{"anonymous without the right needed", anonymous, everybody(others...), core.ErrUnauthorized},
			{"anonymous without any right", anonymous, everybody(), core.ErrUnauthorized},
			{"known with the right needed", ci, needed, nil},
			{"known without the right needed", ci, everybody(others...), withheld},
			// An answer never reveals a repository that the caller may not read.
			{"known without any right", ci, everybody(), core.ErrNameUnknown},
			{"known with rights elsewhere", ci, elsewhere, core.ErrNameUnknown},
		} {
			t.Run(c.method+" by "+row.name, func(t *testing.T) {
				inner := &recorder{}
				err := c.call(Guard(inner, row.policy, row.who))
				if row.want == nil {
					if err != nil || len(inner.calls) != 1 || !strings.HasPrefix(inner.calls[0], c.method+" here") {
						t.Errorf("got error %v and calls %q, want the call passed on", err, inner.calls)
					}
					return
				}
				if !errors.Is(err, row.want) {
					t.Errorf("got error %v, want %v", err, row.want)
				}
				if len(inner.calls) != 0 {
					t.Errorf("refused, but %q reached the registry", inner.calls)
				}
			})
		}
	}
}

// A method that core.Registry gains must be refused until it is in the table above and
// in guard's files, or filtered in readable.
func TestGuardRefusesWhatNobodyDecided(t *testing.T) {
	decided := map[string]bool{"Repositories": true, "Holders": true, "RepositoryRows": true, "ContentRows": true, "CatalogState": true}
	for _, c := range calls {
		decided[c.method] = true
	}
	registry := reflect.TypeFor[core.Registry]()
	for method := range registry.Methods() {
		if !decided[method.Name] {
			t.Errorf("core.Registry has a method %s that no row decides about", method.Name)
		}
	}
	wrapper := reflect.TypeFor[guard]()
	for field := range wrapper.Fields() {
		if field.Anonymous && field.Type != reflect.TypeFor[core.Unimplemented]() {
			t.Errorf("guard embeds %s, whose methods pass unseen", field.Type)
		}
	}
	if !wrapper.Field(0).Anonymous {
		t.Error("guard does not embed core.Unimplemented")
	}
	if err := (core.Unimplemented{}).DeleteTag(context.Background(), "here", "v1"); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("core.Unimplemented answers %v, want a refusal", err)
	}
}

func TestGuardNamesWhoMayNotDoWhat(t *testing.T) {
	guarded := Guard(&recorder{}, grants{"read here"}, ci)
	err := guarded.DeleteTag(context.Background(), "here", "v1")
	for _, want := range []string{"ci", "delete", "here"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %q", err, want)
		}
	}
}

func TestGuardCreatesWithoutOverwriting(t *testing.T) {
	for _, row := range []struct {
		name   string
		policy Policy
		asked  bool
		want   bool
	}{
		{"create alone never overwrites", everybody(Read, Create), false, true},
		{"create and update may overwrite", everybody(Read, Create, Update), false, false},
		{"a caller may ask for less", everybody(Read, Create, Update), true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			inner := &recorder{}
			_, err := Guard(inner, row.policy, ci).PutManifest(context.Background(), "here", core.ManifestPut{CreateOnly: row.asked})
			if err != nil || inner.put.CreateOnly != row.want {
				t.Errorf("got CreateOnly %v, error %v; want CreateOnly %v", inner.put.CreateOnly, err, row.want)
			}
		})
	}
}

func TestGuardPassesAccessDown(t *testing.T) {
	for _, row := range []struct {
		name   string
		policy Policy
		want   core.Access
	}{
		{"read alone does not fetch", everybody(Read), core.Access{}},
		{"fetch lets a mirror download", everybody(Read, Fetch), core.Access{Fetch: true}},
		{"fetch elsewhere is not fetch here", grants{"read here", "fetch there"}, core.Access{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			inner := &recorder{}
			if _, err := Guard(inner, row.policy, anonymous).Stat(context.Background(), "here", content); err != nil {
				t.Fatal(err)
			}
			if inner.access != row.want {
				t.Errorf("got %+v, want %+v", inner.access, row.want)
			}
		})
	}
}

// Deeper layers get the caller, and whether the caller may create here, whatever the
// request does.
func TestGuardPassesDownWhoAsks(t *testing.T) {
	stranger := Identity{Address: "192.0.2.7"}
	known := Identity{User: "ci", Address: "192.0.2.7"}
	narrow := known
	narrow.Narrow = &Narrowing{Actions: []Action{Read, Delete}}
	for _, row := range []struct {
		name   string
		who    Identity
		policy Policy
		want   core.Access
		by     string
	}{
		{"anonymous who may create", stranger, everybody(Actions...),
			core.Access{Fetch: true, Create: true, Address: "192.0.2.7"}, "address 192.0.2.7"},
		{"anonymous who may not", stranger, everybody(Read, Delete),
			core.Access{Address: "192.0.2.7"}, "address 192.0.2.7"},
		{"known who may create", known, everybody(Read, Create, Delete),
			core.Access{Known: true, Create: true, Caller: "ci", Address: "192.0.2.7"}, "user ci"},
		{"create elsewhere is not create here", known, grants{"read here", "delete here", "create there"},
			core.Access{Known: true, Caller: "ci", Address: "192.0.2.7"}, "user ci"},
		{"a credential narrowed to less", narrow, everybody(Read, Create, Delete),
			core.Access{Known: true, Caller: "ci", Address: "192.0.2.7"}, "user ci"},
	} {
		for _, c := range calls {
			if c.needs == Create && !row.want.Create {
				continue
			}
			inner := &recorder{}
			if err := c.call(Guard(inner, row.policy, row.who)); err != nil || inner.access != row.want {
				t.Errorf("%s: %s: got %+v, %v, want %+v", row.name, c.method, inner.access, err, row.want)
			}
			if got := inner.access.Principal(); got != row.by {
				t.Errorf("%s: %s: got principal %q, want %q", row.name, c.method, got, row.by)
			}
		}
	}
}

// Decisions that only a mirror can apply reach it, and so does the caller: a stranger
// is told to log in.
func TestGuardPassesDownWhatAMirrorHides(t *testing.T) {
	policy := grants{"read here", "reveal here"}
	for _, row := range []struct {
		name string
		who  Identity
		want core.Access
	}{
		{"anonymous", anonymous, core.Access{Private: true}},
		{"known", ci, core.Access{Private: true, Known: true, Caller: "ci"}},
	} {
		inner := &recorder{}
		if _, err := Guard(inner, policy, row.who).Stat(context.Background(), "here", content); err != nil || inner.access != row.want {
			t.Errorf("%s: got %+v, %v, want %+v", row.name, inner.access, err, row.want)
		}
	}
	for _, row := range []struct {
		err, want error
	}{
		{core.Access{}.Hidden("a"), core.ErrUnauthorized},
		{core.Access{Known: true}.Hidden("a"), core.ErrNameUnknown},
		{core.Access{}.Unfetched("a"), core.ErrUnauthorized},
		{core.Access{Known: true}.Unfetched("a"), core.ErrDenied},
	} {
		if !errors.Is(row.err, row.want) {
			t.Errorf("got %v, want %v", row.err, row.want)
		}
	}
}

// A narrowed credential can do what the policy allows and its narrowing permits.
func TestNarrowing(t *testing.T) {
	everything := everybody(append([]Action{Reveal}, Actions...)...)
	for _, row := range []struct {
		name   string
		narrow *Narrowing
		action Action
		repo   string
		want   bool
	}{
		{"none", nil, Delete, "team/app", true},
		{"empty", &Narrowing{}, Delete, "team/app", true},
		{"to the action", &Narrowing{Actions: []Action{Read, Create}}, Create, "team/app", true},
		{"to other actions", &Narrowing{Actions: []Action{Read, Create}}, Update, "team/app", false},
		{"to the repository", &Narrowing{On: []string{"team/**"}}, Update, "team/app", true},
		{"to other repositories", &Narrowing{On: []string{"team/**"}}, Read, "other", false},
		{"to both, in one of them", &Narrowing{Actions: []Action{Read}, On: []string{"team/**"}}, Read, "other", false},
		{"to reading what is hidden", &Narrowing{Actions: []Action{Read}}, Reveal, "team/app", true},
		{"to writing, and hidden", &Narrowing{Actions: []Action{Create}}, Reveal, "team/app", false},
	} {
		who := Identity{User: "ci", Narrow: row.narrow}
		if got := everything.Allows(who, row.action, row.repo); got != row.want {
			t.Errorf("%s: got %v, want %v", row.name, got, row.want)
		}
		if everybody().Allows(who, row.action, row.repo) {
			t.Errorf("%s: a narrowing allowed what the policy does not", row.name)
		}
	}
}

// A list goes over many repositories, so what a mirror hides is asked of each.
func TestGuardPassesDownWhatListsReveal(t *testing.T) {
	var got context.Context
	g := Guard(&lister{ctx: &got}, grants{"read *", "reveal shown"}, ci)
	for range g.Repositories(t.Context(), "") {
	}
	if !core.Reveals(got, "shown") || core.Reveals(got, "other") {
		t.Error("the catalog does not reveal what the policy does")
	}
	for range g.Holders(t.Context(), content) {
	}
	if !core.Reveals(got, "shown") || core.Reveals(got, "other") {
		t.Error("holders do not reveal what the policy does")
	}
}

// lister remembers the context of a list.
type lister struct {
	recorder
	ctx *context.Context
}

func (l *lister) Repositories(ctx context.Context, _ string) iter.Seq2[string, error] {
	*l.ctx = ctx
	return sequence[string](nil)
}

func (l *lister) Holders(ctx context.Context, _ digest.Digest) iter.Seq2[string, error] {
	*l.ctx = ctx
	return sequence[string](nil)
}

func TestGuardMountsWhatTheCallerMayRead(t *testing.T) {
	for _, row := range []struct {
		name    string
		policy  Policy
		from    string
		holders []string
		gone    []string // holders that no longer hold it when they are asked
		want    error
		calls   []string
	}{
		{"from a repository that may be read", grants{"create here", "read there"}, "there", nil, nil, nil, []string{"Mount here from there"}},
		{"from a repository that may not be read", grants{"create here"}, "there", nil, nil, core.ErrBlobUnknown, nil},
		{"without create here", grants{"read here", "read there"}, "there", nil, nil, core.ErrDenied, nil},

		// Without from, the holders that may not be read are not even asked.
		{"from any holder", grants{"create here", "read c"}, "", []string{"a", "b", "c", "d"}, nil, nil, []string{"Mount here from c"}},
		{"from any holder, none readable", grants{"create here"}, "", []string{"a"}, nil, core.ErrBlobUnknown, nil},
		{"from any holder, none at all", grants{"create here"}, "", nil, nil, core.ErrBlobUnknown, nil},
		{"from a holder that has just dropped it", grants{"create here", "read a", "read b"}, "", []string{"a", "b"}, []string{"a"}, nil, []string{"Mount here from a", "Mount here from b"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			inner := &recorder{holders: row.holders, mountErr: map[string]error{}}
			for _, repo := range row.gone {
				inner.mountErr[repo] = core.ErrBlobUnknown
			}
			_, err := Guard(inner, row.policy, ci).Mount(context.Background(), "here", row.from, content)
			if !errors.Is(err, row.want) {
				t.Errorf("got error %v, want %v", err, row.want)
			}
			if !slices.Equal(inner.calls, row.calls) {
				t.Errorf("got calls %q, want %q", inner.calls, row.calls)
			}
		})
	}
}

func TestGuardFiltersNames(t *testing.T) {
	inner := &recorder{repos: []string{"a", "b", "c"}, holders: []string{"b", "c"}}
	guarded := Guard(inner, grants{"read a", "read c"}, anonymous)
	if got, err := collect(guarded.Repositories(context.Background(), "")); err != nil || !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("catalog: got %q, %v", got, err)
	}
	if got, err := collect(guarded.Holders(context.Background(), content)); err != nil || !slices.Equal(got, []string{"c"}) {
		t.Errorf("holders: got %q, %v", got, err)
	}
	for name := range guarded.Repositories(context.Background(), "") {
		if name != "a" {
			t.Errorf("went on to %q after the caller stopped", name)
		}
		break
	}
	broken := Guard(core.Unimplemented{}, everybody(), anonymous)
	if _, err := collect(broken.Repositories(context.Background(), "")); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("an error in the list became %v", err)
	}
}

// A caller who may read only a few of very many repositories does not cause a scan of
// all in one call.
func TestGuardBoundsWhatItPassesOver(t *testing.T) {
	inner := &recorder{}
	for i := range 3 * core.MaxPassed {
		inner.repos = append(inner.repos, fmt.Sprintf("r%05d", i))
	}
	inner.holders = inner.repos
	guarded := Guard(inner, grants{"create here", "read r02999"}, ci)
	for name, list := range map[string]iter.Seq2[string, error]{
		"catalog": guarded.Repositories(context.Background(), ""), "holders": guarded.Holders(context.Background(), content),
	} {
		names, err := collect(list)
		var pause *core.Pause
		if len(names) != 0 || !errors.As(err, &pause) || pause.After != inner.repos[core.MaxPassed-1] {
			t.Errorf("%s: got %q, %v, want it to pause", name, names, err)
		}
	}
	// A mount is abandoned, and the client uploads.
	if _, err := guarded.Mount(context.Background(), "here", "", content); !errors.Is(err, core.ErrBlobUnknown) {
		t.Errorf("mount: got %v, want ErrBlobUnknown", err)
	}
	if len(inner.calls) != 0 {
		t.Errorf("%q reached the registry", inner.calls)
	}
}

// The refusal of an overwrite says which tag names which digest since when, however
// the tag is reached; the guard does not change it.
func TestGuardPassesOnWhatAnOverwriteMeets(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	detail := map[string]any{"tag": "v1", "digest": content, "since": since}
	refuse := core.WithDetail(fmt.Errorf("%w: here:v1", core.ErrTagExists), detail)
	_, err := Guard(refusing{err: refuse}, everybody(Read, Create), ci).PutManifest(context.Background(), "here", core.ManifestPut{Tags: []string{"v1"}})
	got, _ := core.Detail(err).(map[string]any)
	if !errors.Is(err, core.ErrTagExists) || !maps.Equal(got, detail) {
		t.Errorf("got %v with %v, want %v", err, got, detail)
	}
}

// A caller who may push but not read learns neither what a tag names, nor which blobs
// exist; the log has both.
func TestGuardTellsNothingOfContentToThoseWhoMayNotRead(t *testing.T) {
	const secret = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, known := range []*core.Error{core.ErrTagExists, core.ErrTypeHeld, core.ErrManifestBlobUnknown} {
		refuse := core.WithDetail(fmt.Errorf("%w: here:v1 names %s", known, secret), map[string]any{"digest": secret})
		for _, row := range []struct {
			policy Policy
			tells  bool
		}{
			{grants{"create here"}, false},
			{grants{"create here", "update here", "read there"}, false},
			{grants{"create here", "read here"}, true},
		} {
			_, err := Guard(refusing{err: refuse}, row.policy, ci).PutManifest(context.Background(), "here", core.ManifestPut{Tags: []string{"v1"}})
			told := strings.Contains(core.Public(err), secret) || core.Detail(err) != nil
			if !errors.Is(err, known) || told != row.tells || !strings.Contains(err.Error(), secret) {
				t.Errorf("%v with %v: got %q with %v for clients and %q for the log", known, row.policy, core.Public(err), core.Detail(err), err)
			}
		}
	}
}

// refusing is a Registry whose puts are refused.
type refusing struct {
	core.Unimplemented
	err error
}

func (r refusing) PutManifest(context.Context, string, core.ManifestPut) (core.ManifestResult, error) {
	return core.ManifestResult{}, r.err
}
