package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

func TestSearches(t *testing.T) {
	r := newRegistry(t)
	small := r.push("team/app", "one", "v1", "latest")
	r.push("team/app", "two longer", "v1.10.0")
	r.push("team/tool", "three", "v1")
	r.push("other", "four", "x")
	mirrored := r.push("docker.io/library/nginx", "five", "latest", "v1")
	one := "@" + string(small)
	for _, row := range []struct {
		query string
		want  []string
	}{
		{"", []string{"docker.io/library/nginx", "other", "team/app", "team/tool"}},
		{"order=name", []string{"docker.io/library/nginx", "other", "team/app", "team/tool"}},
		{"order=push", []string{"docker.io/library/nginx", "other", "team/tool", "team/app"}},
		{"order=size", nil}, // they are of different sizes only by their manifests
		{"order=pull", nil},
		{"kind=private", []string{"other", "team/app", "team/tool"}},
		{"kind=mirror", []string{"docker.io/library/nginx"}},
		{"in=team", []string{"team/app", "team/tool"}},
		{"in=docker.io", []string{"docker.io/library/nginx"}},
		{"in=tea", []string{}},
		{"in=team&kind=mirror", []string{}},
		{"q=app", []string{"team/app"}},
		{"q=APP", []string{"team/app"}},
		{"q=t", []string{"other", "team/app", "team/tool"}},
		{"q=t&kind=private&order=push", []string{"other", "team/tool", "team/app"}},
		{"q=nothing", []string{}},
		{"q=%3Av1", []string{"docker.io/library/nginx:v1", "team/app:v1", "team/tool:v1"}},
		{"q=%3Av1&order=push", []string{"docker.io/library/nginx:v1", "team/tool:v1", "team/app:v1"}},
		{"q=app:latest", []string{"team/app:latest"}},
		{"q=app:none", []string{}},
		{"q=" + string(small)[:7+6], []string{"team/app" + one}},
		{"q=" + strings.ToUpper(string(small)[7:20]), []string{}}, // not a digest without its algorithm
		{"q=sha256:" + strings.ToUpper(string(small)[7:20]), []string{"team/app" + one}},
		{"q=" + string(mirrored), []string{"docker.io/library/nginx@" + string(mirrored)}},
		{"q=app@" + string(small), []string{"team/app" + one}},
		{"q=tool@" + string(small), []string{}},
		{"q=sha512:0123456", []string{}},
		{"q=" + string(digest.FromString(base))[:7+9], nil},
	} {
		for _, n := range []int{1, 2, 500} {
			got, _ := pages(t, r.as(erich, everything{}), "/api/images?"+row.query, n)
			list := names(got)
			if row.want == nil {
				slices.Sort(list)
				if want := names(get[api.List](t, r.as(erich, everything{}), "/api/images?"+row.query)); len(list) != len(want) {
					t.Errorf("%s, %d a page: got %q, want %d rows", row.query, n, list, len(want))
				}
				continue
			}
			if !slices.Equal(list, row.want) && len(list)+len(row.want) > 0 {
				t.Errorf("%s, %d a page: got %q, want %q", row.query, n, list, row.want)
			}
		}
	}
	first := get[api.List](t, r.as(erich, everything{}), "/api/images?q=app").Repositories[0]
	if first.Kind != "private" || first.Tags != 3 || first.Manifests != 2 || first.Newest != "v1.10.0" ||
		first.OnlyHere == nil || first.Pushed.IsZero() || first.Digest == "" {
		t.Errorf("got %+v", first)
	}
}

func TestWhatIsAskedForARepository(t *testing.T) {
	r := newRegistry(t)
	for i, tag := range []string{"v1.9.0", "v1.10.0", "v1.10.0-rc1", "nightly"} {
		r.push("team/app", fmt.Sprint("layer ", i), tag)
	}
	newest := r.push("team/app", "layer 1", "latest", "v1.10.0") // the image of v1.10.0 has a second tag
	a := r.as(erich, everything{})
	a.Rights = func(repo string) []api.Right {
		return []api.Right{{Action: "read", Allowed: true, Rule: "allow anonymous read", Line: repo}}
	}
	for _, row := range []struct{ query, want string }{
		{"", "v1.10.0 v1.10.0-rc1 v1.9.0 nightly latest"},
		{"?order=name", "latest nightly v1.10.0 v1.10.0-rc1 v1.9.0"},
		{"?order=push", ""},
		{"?order=pull", ""},
		{"?tag=1.10", "v1.10.0 v1.10.0-rc1"},
		{"?tag=none", ""},
	} {
		for _, n := range []int{1, 2, 500} {
			got, _ := pages(t, a, "/api/images/team/app/-/tags"+row.query, n)
			var list []string
			for _, tag := range got.Tags {
				list = append(list, tag.Name)
			}
			text := strings.Join(list, " ")
			if strings.Contains(row.query, "order=pu") {
				text = "" // pushes of one instant have no order, and nothing was pulled
			}
			if text != row.want {
				t.Errorf("tags%s, %d a page: got %q, want %q", row.query, n, text, row.want)
			}
		}
	}
	images, _ := pages(t, a, "/api/images/team/app/-/images", 3)
	if len(images.Images) != 4 {
		t.Errorf("got %d images, want 4", len(images.Images))
	}
	repo := get[api.RepositoryAnswer](t, a, "/api/images/team/app")
	if repo.Newest == nil || repo.Newest.Digest != newest || repo.Newest.Image == nil || len(repo.Rights) != 1 ||
		repo.Rights[0].Line != "team/app" || repo.Repository.Tags != 5 {
		t.Errorf("got %+v", repo)
	}
	tag := get[api.ImageAnswer](t, a, "/api/images/team/app:latest")
	if tag.Tag == nil || tag.Tag.By != "erich" || !slices.Equal(tag.Tag.Aliases, []string{"v1.10.0"}) || tag.Tag.Image != nil ||
		tag.Image == nil || tag.Image.Digest != newest || !slices.Equal(tag.Image.Tags, []string{"latest", "v1.10.0"}) {
		t.Errorf("got %+v", tag)
	}
	if i := tag.Image; !i.Described || i.MediaType != ocispec.MediaTypeImageManifest || i.Layers != 2 || i.ContentSize != 1002+7 ||
		i.By != "erich" || i.Annotations[ocispec.AnnotationTitle] != "about layer 1" {
		t.Errorf("got %+v", i)
	}
	if len(tag.Names) != 3 || !tag.Names[0].Held || tag.Names[1].Digest != digest.FromString(base) || !tag.Names[1].SharedHere || tag.Names[2].SharedHere {
		t.Errorf("it names %+v", tag.Names)
	}
	if byDigest := get[api.ImageAnswer](t, a, "/api/images/team/app@"+string(newest)); byDigest.Tag != nil || byDigest.Image.Digest != newest {
		t.Errorf("got %+v", byDigest)
	}
	users, _ := pages(t, a, "/api/images/team/app@"+string(digest.FromString(base))+"/-/users", 3)
	if len(users.Users) != 4 || !users.Users[0].Manifest {
		t.Errorf("the base is used by %+v, want all images", users.Users)
	}

	before := get[api.HistoryAnswer](t, a, "/api/images/team/app:latest/-/history")
	if len(before.Before) != 0 || before.Now.Digest != newest {
		t.Errorf("got %+v", before)
	}
	moved := r.push("team/app", "layer 9", "latest")
	before = get[api.HistoryAnswer](t, a, "/api/images/team/app:latest/-/history")
	if before.Now.Digest != moved || len(before.Before) != 1 || before.Before[0].Digest != newest || before.Before[0].By != "erich" {
		t.Errorf("got %+v", before)
	}
}

func TestUsersOfAnImageAreShownWithIt(t *testing.T) {
	r := newRegistry(t)
	image := r.push("team/app", "one", "v1")
	for i := range 25 {
		r.put("team/app", ocispec.MediaTypeImageIndex, ocispec.Index{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
			Manifests:   []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageManifest, Digest: image, Size: 1, Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}}},
			Annotations: map[string]string{"n": fmt.Sprint(i)},
		}, fmt.Sprint("i", i))
	}
	a := r.as(erich, everything{})
	answer := get[api.ImageAnswer](t, a, "/api/images/team/app:v1")
	if len(answer.Users) != 20 || !answer.MoreUsers {
		t.Errorf("got %d users, more: %v", len(answer.Users), answer.MoreUsers)
	}
	if all, _ := pages(t, a, "/api/images/team/app@"+string(image)+"/-/users", 7); len(all.Users) != 25 {
		t.Errorf("got %d users, want 25", len(all.Users))
	}
	if index := get[api.ImageAnswer](t, a, "/api/images/team/app:i3"); len(index.Image.Platforms) != 1 ||
		index.Image.Platforms[0].Platform != "linux/amd64" || index.Image.Platforms[0].Digest != image {
		t.Errorf("got %+v", index.Image)
	}
}

func TestRefusals(t *testing.T) {
	r := newRegistry(t)
	image := r.push("team/app", "one", "v1", "v2")
	a := r.as(erich, everything{})
	cursor := get[api.List](t, a, "/api/images/team/app/-/tags?n=1").After
	unknown := digest.FromString("unknown")
	for _, row := range []struct {
		method, target string
		status         int
		code           string
	}{
		{"GET", "/api/images/", 400, "NAME_INVALID"},
		{"GET", "/api/images/team/app/-/nothing", 404, "UNSUPPORTED"},
		{"GET", "/api/images/team/app/-/", 404, "UNSUPPORTED"},
		{"GET", "/api/images/team/app/-/tags/-/tags", 404, "UNSUPPORTED"},
		{"GET", "/api/images/team/app/-/history", 404, "UNSUPPORTED"},
		{"GET", "/api/images/team/app:v1/-/users", 404, "UNSUPPORTED"},
		{"GET", "/api/images/TEAM", 400, "NAME_INVALID"},
		{"GET", "/api/images/team//app", 400, "NAME_INVALID"},
		{"GET", "/api/images/" + strings.Repeat("a", 256), 400, "NAME_INVALID"},
		{"GET", "/api/images/team/app:-", 400, "TAG_INVALID"},
		{"GET", "/api/images/team/app@sha256:12", 400, "DIGEST_INVALID"},
		{"GET", "/api/images/team/app:v1@" + string(image), 400, "NAME_INVALID"},
		{"GET", "/api/images/none", 404, "NAME_UNKNOWN"},
		{"GET", "/api/images/none/-/tags", 404, "NAME_UNKNOWN"},
		{"GET", "/api/images/none/-/images", 404, "NAME_UNKNOWN"},
		{"GET", "/api/images/none@" + string(image) + "/-/users", 404, "NAME_UNKNOWN"},
		{"GET", "/api/images/none@" + string(image), 404, "NAME_UNKNOWN"},
		{"GET", "/api/images/team/app@" + string(unknown), 404, "MANIFEST_UNKNOWN"},
		{"GET", "/api/images/team/app:v3", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/api/images/team/app:v3/-/history", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/api/images/team/app:v3/-/deletion", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/api/images/team/app@" + string(unknown) + "/-/deletion", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/api/images/none@" + string(unknown) + "/-/deletion", 404, "NAME_UNKNOWN"},
		{"GET", "/api/images/team/app/-/deletion", 404, "UNSUPPORTED"},
		{"GET", "/api/images/team/app/-/upstream", 404, "NAME_UNKNOWN"},
		{"GET", "/api/images/docker.io/library/nginx/-/upstream", 404, "NAME_UNKNOWN"},
		{"GET", "/api/images/team/app/-/upstream?tag=" + strings.Repeat("x", 129), 400, "UNSUPPORTED"},
		{"GET", "/api/images/team/app:v1/-/deletion?n=1", 400, "UNSUPPORTED"},
		{"DELETE", "/api/images/team/app:v1/-/deletion", 405, "UNSUPPORTED"},
		{"DELETE", "/api/images/team/app:v1?plan=x", 400, "UNSUPPORTED"},
		{"DELETE", "/api/images/team/app@" + string(image) + "?plan=", 400, "UNSUPPORTED"},
		{"DELETE", "/api/images/team/app@" + string(image) + "?plan=x", 409, "DENIED"},
		{"DELETE", "/api/images/team/app@" + string(unknown) + "?plan=x", 404, "MANIFEST_UNKNOWN"},
		{"DELETE", "/api/images/team/app:v3", 404, "MANIFEST_UNKNOWN"},
		{"DELETE", "/api/images/team/app@" + string(unknown), 404, "MANIFEST_UNKNOWN"},
		{"DELETE", "/api/images/none:v1", 404, "NAME_UNKNOWN"},
		{"DELETE", "/api/images/team/app:v1?force=1", 400, "UNSUPPORTED"},
		{"DELETE", "/api/images/team/app", 405, "UNSUPPORTED"},
		{"DELETE", "/api/images", 405, "UNSUPPORTED"},
		{"DELETE", "/api/images/team/app:v1/-/history", 405, "UNSUPPORTED"},
		{"POST", "/api/images/team/app:v1", 405, "UNSUPPORTED"},
		{"PUT", "/api/state", 405, "UNSUPPORTED"},
		{"GET", "/api/images?order=version", 400, "UNSUPPORTED"},
		{"GET", "/api/images/team/app/-/tags?order=size", 400, "UNSUPPORTED"},
		{"GET", "/api/images?kind=chart", 400, "UNSUPPORTED"},
		{"GET", "/api/images?in=team/app", 400, "UNSUPPORTED"},
		{"GET", "/api/images?in=TEAM", 400, "UNSUPPORTED"},
		{"GET", "/api/images?n=0", 400, "UNSUPPORTED"},
		{"GET", "/api/images?n=501", 400, "UNSUPPORTED"},
		{"GET", "/api/images?n=x", 400, "UNSUPPORTED"},
		{"GET", "/api/images?sort=name", 400, "UNSUPPORTED"},
		{"GET", "/api/images?q=a&q=b", 400, "UNSUPPORTED"},
		{"GET", "/api/images?q=%zz", 400, "UNSUPPORTED"},
		{"GET", "/api/images?q=" + strings.Repeat("a", 400), 400, "UNSUPPORTED"},
		{"GET", "/api/images?q=" + strings.Repeat("a", 5000), 400, "UNSUPPORTED"},
		{"GET", "/api/images?q=app:", 400, "TAG_INVALID"},
		{"GET", "/api/images?q=sha256:12345", 400, "DIGEST_INVALID"},
		{"GET", "/api/images?q=sha256:xyzxyz", 400, "DIGEST_INVALID"},
		{"GET", "/api/images?q=app@md5:123456", 400, "DIGEST_INVALID"},
		{"GET", "/api/images/team/app/-/tags?tag=" + strings.Repeat("a", 129), 400, "UNSUPPORTED"},
		{"GET", "/api/images?after=x", 400, "UNSUPPORTED"},
		{"GET", "/api/images?after=!", 400, "UNSUPPORTED"},
		// A cursor continues its own list.
		{"GET", "/api/images?after=" + cursor, 400, "UNSUPPORTED"},
		{"GET", "/api/images/team/app/-/tags?order=name&after=" + cursor, 400, "UNSUPPORTED"},
		{"GET", "/api/images/team/app/-/tags?n=1&after=" + cursor, 200, ""},
	} {
		var wrong api.Errors
		got := ask(t, a, row.method, row.target, &wrong)
		code := ""
		if len(wrong.Errors) > 0 {
			code = wrong.Errors[0].Code
		}
		if got.Code != row.status || code != row.code || code != "" && wrong.Errors[0].Message == "" {
			t.Errorf("%s %s: got %d %s, want %d %s", row.method, row.target, got.Code, got.Body, row.status, row.code)
		}
		if allow := got.Header().Get("Allow"); (row.status == 405) != strings.HasPrefix(allow, "GET, HEAD") {
			t.Errorf("%s %s: got Allow %q", row.method, row.target, allow)
		}
		if row.method == "GET" {
			if head := ask(t, a, http.MethodHead, row.target, nil); head.Code != row.status {
				t.Errorf("HEAD %s: got %d, want %d", row.target, head.Code, row.status)
			}
		}
	}
}

func TestDeletions(t *testing.T) {
	r := newRegistry(t)
	image := r.push("team/app", "one", "v1", "v2", "latest")
	a := r.as(erich, everything{})
	gone := func(target string) api.Deletion {
		t.Helper()
		var answer api.Deleted
		if got := ask(t, a, http.MethodDelete, target, &answer); got.Code != http.StatusOK {
			t.Fatalf("DELETE %s: got %d %s", target, got.Code, got.Body)
		}
		return answer.Deleted
	}
	other := httptest.NewRequest(http.MethodDelete, "/api/images/team/app:v1", nil)
	other.Header.Set("Sec-Fetch-Site", "cross-site")
	refused := httptest.NewRecorder()
	a.ServeHTTP(refused, other)
	if refused.Code != http.StatusForbidden || !strings.Contains(readAll(t, refused.Body), "DENIED") {
		t.Errorf("another site's: got %d", refused.Code)
	}
	a.ReadOnly = true
	if got := ask(t, a, http.MethodDelete, "/api/images/team/app:v1", nil); got.Code != http.StatusMethodNotAllowed || got.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("a site for reading: got %d, Allow %q", got.Code, got.Header().Get("Allow"))
	}
	a.ReadOnly = false

	if got := gone("/api/images/team/app:v1"); got.Manifest || got.Digest != image || !slices.Equal(got.Tags, []string{"v1"}) || got.Repository != "team/app" {
		t.Errorf("a tag: got %+v", got)
	}
	if left := get[api.ImageAnswer](t, a, "/api/images/team/app@"+string(image)); !slices.Equal(left.Image.Tags, []string{"latest", "v2"}) {
		t.Errorf("got the tags %q", left.Image.Tags)
	}
	got := gone("/api/images/team/app@" + string(image))
	slices.Sort(got.Tags)
	if !got.Manifest || got.Digest != image || !slices.Equal(got.Tags, []string{"latest", "v2"}) {
		t.Errorf("an image: got %+v", got)
	}
	if answer := ask(t, a, http.MethodGet, "/api/images/team/app", nil); answer.Code != http.StatusNotFound {
		t.Errorf("the repository is there still: %s", answer.Body)
	}
	bare := r.push("team/app", "two")
	if got := gone("/api/images/team/app@" + string(bare)); got.Tags == nil || len(got.Tags) != 0 {
		t.Errorf("an image without tags: got %+v", got)
	}
}

// Answers come from the projection: nothing reads the bucket.
func TestNothingReadsTheBucket(t *testing.T) {
	r := newRegistry(t)
	image := r.push("team/app", "one", "v1")
	held := r.push("docker.io/library/nginx", "two", "latest")
	a := r.as(erich, everything{})
	before := []int64{r.buckets[0].reads.Load(), r.buckets[1].reads.Load()}
	for _, target := range []string{
		"/api/images", "/api/images?order=push", "/api/images?q=docker", "/api/images?q=:v1", "/api/images?q=" + string(held)[:20],
		"/api/images/team/app", "/api/images/docker.io/library/nginx", "/api/images/team/app/-/tags", "/api/images/team/app/-/images",
		"/api/images/docker.io/library/nginx:latest", "/api/images/team/app:v1/-/history", "/api/images/team/app@" + string(image),
		"/api/images/team/app@" + string(image) + "/-/users", "/api/state", "/api/openapi.json",
		"/api/images/team/app:v1/-/deletion", "/api/images/docker.io/library/nginx:latest/-/deletion",
	} {
		get[json.RawMessage](t, a, target)
	}
	for i, b := range r.buckets {
		if got := b.reads.Load(); got != before[i] {
			t.Errorf("bucket %d was read %d times", i, got-before[i])
		}
	}
}

func TestAnonymousCallersLearnNoNamesOfPeople(t *testing.T) {
	r := newRegistry(t)
	image := r.push("team/app", "one", "v1")
	r.push("team/app", "two", "v1")
	for _, target := range []string{
		"/api/images", "/api/images?q=:v1", "/api/images/team/app", "/api/images/team/app/-/tags", "/api/images/team/app/-/images",
		"/api/images/team/app:v1", "/api/images/team/app:v1/-/history", "/api/images/team/app@" + string(image),
		"/api/images/team/app:v1/-/deletion",
	} {
		if got := ask(t, r.as(anonymous, everything{}), http.MethodGet, target, nil); got.Code != http.StatusOK || strings.Contains(got.Body.String(), "erich") {
			t.Errorf("%s: got %d %s", target, got.Code, got.Body)
		}
	}
}

// only is a policy that lets everybody read what begins with a prefix.
type only string

func (o only) Allows(_ policies.Identity, action policies.Action, repo string) bool {
	return action == policies.Read && strings.HasPrefix(repo, string(o))
}

// A list that leaves out more than it may pass goes on behind a place that it does not show.
func TestAListPausesBehindWhatMayNotBeRead(t *testing.T) {
	r := newRegistry(t)
	image := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: ocispec.Descriptor{MediaType: "x/y", Digest: digest.FromString("{}"), Size: 2}}
	for i := range core.MaxPassed + 200 {
		r.put(fmt.Sprintf("docker.io/hidden/secret%04d", i), ocispec.MediaTypeImageManifest, image, "v1")
	}
	r.put("docker.io/shown/app", ocispec.MediaTypeImageManifest, image, "v1")
	a := r.as(anonymous, only("docker.io/shown"))
	data, err := json.Marshal(image)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/api/images", "/api/images?q=docker", "/api/images?q=:v1", "/api/images?q=" + string(digest.FromBytes(data))[:20]} {
		first := get[api.List](t, a, target)
		if !first.More || len(names(first)) > 0 {
			t.Errorf("%s: got %q, more %v; want to go on with nothing yet", target, names(first), first.More)
		}
		all, answers := pages(t, a, target, 50)
		if got := names(all); answers != 2 || len(got) != 1 || !strings.HasPrefix(got[0], "docker.io/shown/app") {
			t.Errorf("%s: got %q in %d answers", target, got, answers)
		}
	}
	long := get[api.List](t, a, "/api/images").After
	a.Cursors = nil
	if short := get[api.List](t, a, "/api/images").After; len(short) < 400 || long == short {
		t.Errorf("a place has %d characters; its length would tell that of a name", len(short))
	}
}
