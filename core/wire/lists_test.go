package wire

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

func TestLists(t *testing.T) {
	tags := func(n int) func(*memory) {
		return func(m *memory) {
			m.tags["a/b"] = map[string]digest.Digest{}
			for i := range n {
				m.tags["a/b"][fmt.Sprintf("t%05d", i)] = indexDigest
			}
		}
	}
	const list = "/v2/a/b/tags/list"
	noLink := map[string]string{"Link": "", "Content-Type": "application/json"}
	runRows(t, []exchangeRow{
		{name: "tags", method: "GET", url: list, status: 200, wantBody: `{"name":"a/b","tags":["v1","v2"]}`, want: noLink},
		{name: "HEAD of tags", method: "HEAD", url: list, status: 200, want: map[string]string{"Content-Length": "34"}},
		{name: "no tags", method: "GET", url: list, prepare: tags(0), status: 200, wantBody: `{"name":"a/b","tags":[]}`, want: noLink},
		{name: "tags, none of them", method: "GET", url: list + "?n=0", status: 200, wantBody: `{"name":"a/b","tags":[]}`, want: noLink},
		{name: "tags, one of them", method: "GET", url: list + "?n=1", status: 200, wantBody: `{"name":"a/b","tags":["v1"]}`, want: map[string]string{"Link": `</v2/a/b/tags/list?last=v1&n=1>; rel="next"`}},
		{name: "tags, with ns", method: "GET", url: list + "?n=1&ns=r.example", status: 200, want: map[string]string{"Link": `</v2/a/b/tags/list?last=v1&n=1&ns=r.example>; rel="next"`}},
		{name: "tags, the next", method: "GET", url: list + "?n=1&last=v1", status: 200, wantBody: `{"name":"a/b","tags":["v2"]}`, want: noLink},
		{name: "tags behind the last", method: "GET", url: list + "?last=v2", status: 200, wantBody: `{"name":"a/b","tags":[]}`, want: noLink},
		{name: "tags, as many as there are", method: "GET", url: list + "?n=2", status: 200, want: noLink},
		{name: "tags, 10,000 of them", method: "GET", url: list, prepare: tags(10_000), status: 200, want: noLink},
		{name: "tags, one more", method: "GET", url: list, prepare: tags(10_001), status: 200, want: map[string]string{"Link": `</v2/a/b/tags/list?last=t09999&n=10000>; rel="next"`}},
		{name: "tags, more than may be asked for", method: "GET", url: list + "?n=20000", prepare: tags(10_001), status: 200, want: map[string]string{"Link": `</v2/a/b/tags/list?last=t09999&n=10000>; rel="next"`}},
		{name: "tags of an unknown repository", method: "GET", url: "/v2/x/tags/list", status: 404, code: "NAME_UNKNOWN"},
		{name: "no tags of an unknown repository", method: "GET", url: "/v2/x/tags/list?n=0", status: 404, code: "NAME_UNKNOWN"},
		{name: "tags that end in an error", method: "GET", url: list, prepare: func(m *memory) { m.fail["Tags"] = errDisk }, status: 500, code: "UNKNOWN"},

		{name: "catalog", method: "GET", url: "/v2/_catalog", status: 200, wantBody: `{"repositories":["a/b","c","d"]}`, want: noLink},
		{name: "empty catalog", method: "GET", url: "/v2/_catalog", prepare: func(m *memory) { m.repos = nil }, status: 200, wantBody: `{"repositories":[]}`, want: noLink},
		{name: "catalog, two", method: "GET", url: "/v2/_catalog?n=2", status: 200, wantBody: `{"repositories":["a/b","c"]}`, want: map[string]string{"Link": `</v2/_catalog?last=c&n=2>; rel="next"`}},
		{name: "catalog, the first", method: "GET", url: "/v2/_catalog?n=1", status: 200, want: map[string]string{"Link": `</v2/_catalog?last=a%2Fb&n=1>; rel="next"`}},
		{name: "catalog, the next", method: "GET", url: "/v2/_catalog?n=2&last=c", status: 200, wantBody: `{"repositories":["d"]}`, want: noLink},
		{name: "catalog that is denied", method: "GET", url: "/v2/_catalog", prepare: func(m *memory) { m.fail["Repositories"] = core.ErrDenied }, status: 403, code: "DENIED"},
	})
}

// The name in an answer is the client's, not the one that it stands for.
func TestAnswersNameWhatTheClientAsked(t *testing.T) {
	m := filled(t)
	r := httptest.NewRequest("GET", "/v2/b/tags/list?n=1", nil)
	req, err := Parse(r.Method, r.URL)
	if err != nil {
		t.Fatal(err)
	}
	req.Repo = "a/b"
	w := httptest.NewRecorder()
	Serve(w, r, req, m, Options{})
	if want := `{"name":"b","tags":["v1"]}`; strings.TrimSpace(w.Body.String()) != want {
		t.Errorf("got %s, want %s", w.Body, want)
	}
	if want := `</v2/b/tags/list?last=v1&n=1>; rel="next"`; w.Header().Get("Link") != want {
		t.Errorf("got %s, want %s", w.Header().Get("Link"), want)
	}
}

func referrer(i int, artifactType, note string) core.Descriptor {
	desc := core.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Size: 2, ArtifactType: artifactType,
		Digest: digest.Digest(fmt.Sprintf("sha256:%064d", i)),
	}
	if note != "" {
		desc.Annotations = map[string]string{"note": note}
	}
	return desc
}

func TestReferrers(t *testing.T) {
	const at = "/v2/a/referrers/" + emptyDigest
	two := func(m *memory) {
		m.referrers = []core.Descriptor{referrer(1, "x/sbom", ""), referrer(2, "x/sig", "<&>")}
	}
	pauses := func(m *memory) {
		m.referrers = []core.Descriptor{referrer(1, "x/sbom", "")}
		m.fail["Referrers"] = &core.Pause{After: fmt.Sprintf("sha256:%064d", 9)}
	}
	index := func(manifests string) string {
		return `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + manifests + `]}`
	}
	first := `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + string(referrer(1, "", "").Digest) + `","size":2,"artifactType":"x/sbom"}`
	none := map[string]string{"Content-Type": ocispec.MediaTypeImageIndex, "Oci-Filters-Applied": "", "Link": ""}
	runRows(t, []exchangeRow{
		{name: "none", method: "GET", url: at, status: 200, wantBody: index(""), want: none},
		{name: "filtered", method: "GET", url: at + "?artifactType=x/sbom", prepare: two, status: 200, wantBody: index(first), want: map[string]string{"Oci-Filters-Applied": "artifactType", "Link": ""}},
		{name: "filtered, none left", method: "GET", url: at + "?artifactType=y/y", prepare: two, status: 200, wantBody: index(""), want: map[string]string{"Oci-Filters-Applied": "artifactType"}},
		{name: "one at a time", method: "GET", url: at + "?n=1", prepare: two, status: 200, wantBody: index(first),
			want: map[string]string{"Link": `</v2/a/referrers/` + emptyDigest + `?last=sha256%3A` + fmt.Sprintf("%064d", 1) + `&n=1>; rel="next"`}},
		{name: "HEAD", method: "HEAD", url: at, status: 200, want: none},
		{name: "that end in an error", method: "GET", url: at, prepare: func(m *memory) { m.fail["Referrers"] = errDisk }, status: 500, code: "UNKNOWN"},
		// The registry passed over others up to there: a page may be empty, and has a next.
		{name: "that pause", method: "GET", url: at + "?artifactType=y/y", prepare: pauses, status: 200, wantBody: index(""),
			want: map[string]string{"Link": `</v2/a/referrers/` + emptyDigest + `?artifactType=y%2Fy&last=sha256%3A` + fmt.Sprintf("%064d", 9) + `>; rel="next"`}},
		{name: "that pause with some", method: "GET", url: at + "?n=5", prepare: pauses, status: 200, wantBody: index(first),
			want: map[string]string{"Link": `</v2/a/referrers/` + emptyDigest + `?last=sha256%3A` + fmt.Sprintf("%064d", 9) + `&n=5>; rel="next"`}},
		{name: "that pause and are not wanted", method: "GET", url: at + "?artifactType=y/y&n=0", prepare: pauses, status: 200, wantBody: index(""), want: map[string]string{"Link": ""}},
	})
}

// Every page is a manifest of acceptable size, and all pages together are the list.
func TestReferrersPages(t *testing.T) {
	const count = 40
	m := newMemory()
	for i := range count {
		m.referrers = append(m.referrers, referrer(i, "x/sbom", strings.Repeat("a", 300<<10)))
	}
	m.referrers[7].Annotations["note"] = strings.Repeat("b", 3<<20) // larger than a page
	next := "/v2/a/referrers/" + emptyDigest + "?artifactType=x/sbom"
	var got []core.Descriptor
	pages := 0
	for next != "" && pages <= count {
		pages++
		w := httptest.NewRecorder()
		handler(m, Options{}).ServeHTTP(w, httptest.NewRequest("GET", next, nil))
		if w.Code != 200 || w.Body.Len() > core.MaxManifestSize || w.Header().Get("OCI-Filters-Applied") != "artifactType" {
			t.Fatalf("page %d: status %d, %d bytes, %v", pages, w.Code, w.Body.Len(), w.Header())
		}
		var index ocispec.Index
		if err := json.Unmarshal(w.Body.Bytes(), &index); err != nil {
			t.Fatal(err)
		}
		got = append(got, index.Manifests...)
		next, _, _ = strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<"), ">")
	}
	if len(got) != count || pages < 6 || pages > 10 {
		t.Fatalf("got %d referrers on %d pages, want %d on 6 to 10", len(got), pages, count)
	}
	for i, desc := range got {
		if desc.Digest != m.referrers[i].Digest || desc.Annotations["note"] != m.referrers[i].Annotations["note"] {
			t.Errorf("referrer %d is %s", i, desc.Digest)
		}
	}
}
