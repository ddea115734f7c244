package pages_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// artifact is a registry that holds one manifest with files.
type artifact struct {
	shelf
	row      core.ImageRow
	manifest []byte
	files    map[digest.Digest]string // what is held
}

// shelve returns a registry with an artifact. Each file is a title, a media type and a text.
func shelve(files ...[3]string) *artifact {
	a := &artifact{shelf: shelf{state: core.CatalogState{Whole: true}}, files: map[digest.Digest]string{}}
	m := ocispec.Manifest{ArtifactType: "application/vnd.example", Config: ocispec.DescriptorEmptyJSON, MediaType: ocispec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	for _, file := range files {
		d := digest.FromString(file[2])
		a.files[d] = file[2]
		layer := ocispec.Descriptor{MediaType: file[1], Digest: d, Size: int64(len(file[2]))}
		if file[0] != "" {
			layer.Annotations = map[string]string{ocispec.AnnotationTitle: file[0]}
		}
		m.Layers = append(m.Layers, layer)
	}
	var err error
	if a.manifest, err = json.Marshal(m); err != nil {
		panic(err)
	}
	a.row = core.ImageRow{Digest: digest.FromBytes(a.manifest), Described: true,
		ImageFacts: core.ImageFacts{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/vnd.example", Layers: len(files)}}
	return a
}

func (a *artifact) ImageRow(_ context.Context, _ string, d digest.Digest) (core.ImageRow, error) {
	if d != a.row.Digest {
		return core.ImageRow{}, core.ErrManifestUnknown
	}
	return a.row, nil
}

func (a *artifact) ImageNames(_ context.Context, _ string, d digest.Digest) (rows []core.NamedRow, err error) {
	if d != a.row.Digest {
		return nil, core.ErrManifestUnknown
	}
	for d := range a.files {
		rows = append(rows, core.NamedRow{Digest: d})
	}
	return rows, nil
}

func (a *artifact) Manifest(context.Context, string, core.Reference) (core.Manifest, error) {
	return core.Manifest{Bytes: a.manifest}, nil
}

func (a *artifact) Blob(ctx context.Context, _ string, d digest.Digest) (core.Blob, error) {
	text, held := a.files[d]
	if !core.Looks(ctx) || !held {
		return nil, core.ErrBlobUnknown
	}
	if text == "burns" {
		return nil, errors.New("the disk is on fire")
	}
	return file{io.NopCloser(strings.NewReader(text)), core.Descriptor{Digest: d, Size: int64(len(text))}}, nil
}

type file struct {
	io.ReadCloser
	descriptor core.Descriptor
}

func (f file) Descriptor() core.Descriptor { return f.descriptor }

// path is the address of the artifact's page.
func (a *artifact) path() string { return "/images/team/app@" + string(a.row.Digest) }

// sbom is an SBOM of n packages.
func sbom(n int) string {
	var packages []string
	for i := range n {
		packages = append(packages, fmt.Sprintf(`{"name":"package-%04d","versionInfo":"1.%d"}`, i, i))
	}
	return `{"spdxVersion":"SPDX-2.3","packages":[` + strings.Join(packages, ",") + `]}`
}

// visible is the text of a page.
func visible(page *httptest.ResponseRecorder) string {
	text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page.Body.String(), " ")
	return regexp.MustCompile(`\s+`).ReplaceAllString(text, " ")
}

func TestContentsOfAnArtifact(t *testing.T) {
	const spdx = "application/spdx+json"
	for _, row := range []struct {
		name  string
		files [][3]string
		query string
		has   []string
		lacks string
	}{
		{"an SBOM", [][3]string{{"sbom.json", spdx, sbom(120)}}, "",
			[]string{"SBOM SPDX-2.3", "package-0000 1.0", "package-0049 1.49", "1 to 50 of 120", "Next →"}, "package-0050"},
		{"its next rows", [][3]string{{"sbom.json", spdx, sbom(120)}}, "?of=OF&row=101",
			[]string{"← First rows", "package-0119", "101 to 120 of 120"}, "Next →"},
		{"a search in it", [][3]string{{"sbom.json", spdx, sbom(120)}}, "?of=OF&find=PACKAGE-011",
			[]string{"package-0110", "1 to 10 of 10"}, "package-0000"},
		{"a search that finds nothing", [][3]string{{"sbom.json", spdx, sbom(2)}}, "?of=OF&find=<i>", []string{"No row has “ &lt;i&gt; ”"}, "package-0000"},
		{"a broken query", [][3]string{{"sbom.json", spdx, sbom(2)}}, "?of=x&row=-7&find=%ff", []string{"package-0001"}, ""},
		{"rows beyond the last", [][3]string{{"sbom.json", spdx, sbom(2)}}, "?of=OF&row=99999999999999999999", []string{"package-0001"}, ""},
		{"two statements", [][3]string{{"", "application/vnd.in-toto+json", `{"predicateType":"https://slsa.dev/provenance/v1","predicate":{"runDetails":{"builder":{"id":"forge"}}}}`},
			{"", "application/vnd.in-toto+json", `{"predicateType":"https://spdx.dev/Document","predicate":` + sbom(1) + `}`}}, "",
			[]string{"Provenance", "Builder forge", "SBOM", "package-0000"}, ""},
		{"unknown files", [][3]string{{"notes.txt", "text/plain", "hello"}}, "", []string{"notes.txt", "text/plain", "5 B", "Artifact"}, "hello"},
		{"a file that is too large", [][3]string{{"sbom.json", spdx, strings.Repeat(" ", 4<<20+1)}}, "",
			[]string{"It has 4.19 MB, and only files of up to 4.19 MB are read. Download it."}, ""},
		{"hostile texts", [][3]string{{"<script>\u202e", spdx, `{"packages":[{"name":"<img src=x onerror=alert(1)>\u202e"}]}`}}, "",
			[]string{`&lt;script&gt; \u202e`, `&lt;img src=x onerror=alert(1)&gt; \u202e`}, "<img"},
		{"long texts", [][3]string{{strings.Repeat("n", 10<<10), spdx, strings.ReplaceAll(sbom(300), "package-", strings.Repeat("p", 10<<10))}}, "", []string{"pppp"}, ""},
	} {
		a := shelve(row.files...)
		query := strings.ReplaceAll(row.query, "OF", string(digest.FromString(row.files[0][2])))
		answer, log := openAt(a, a.path()+query)
		if answer.Code != http.StatusOK || answer.Body.Len() > 100_000 {
			t.Errorf("%s: got %d with %d bytes: %s", row.name, answer.Code, answer.Body.Len(), log)
		}
		text := visible(answer)
		for _, has := range row.has {
			if !strings.Contains(text, has) {
				t.Errorf("%s: the page lacks %q:\n%s", row.name, has, text)
			}
		}
		if row.lacks != "" && strings.Contains(text, row.lacks) {
			t.Errorf("%s: the page has %q", row.name, row.lacks)
		}
	}
}

// Every row of a document is on exactly one page, however long its texts are.
func TestRowsOfADocumentGoOn(t *testing.T) {
	a := shelve([3]string{"sbom.json", "application/spdx+json", strings.ReplaceAll(sbom(300), `"1.`, `"`+strings.Repeat("v", 300))})
	seen, path := map[string]int{}, a.path()
	for range 100 {
		answer, _ := openAt(a, path)
		for _, name := range regexp.MustCompile(`package-\d+`).FindAllString(answer.Body.String(), -1) {
			seen[name]++
		}
		next := regexp.MustCompile(`href="([^"]*)" rel="next"`).FindStringSubmatch(answer.Body.String())
		if next == nil {
			break
		}
		path = strings.ReplaceAll(strings.TrimSuffix(next[1], "#contents"), "&amp;", "&")
	}
	if len(seen) != 300 {
		t.Errorf("%d of 300 rows were shown", len(seen))
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%s was shown %d times", name, n)
		}
	}
}

func TestDownloads(t *testing.T) {
	a := shelve([3]string{"../a b;\".html", "text/html", "<script>alert(1)</script>"}, [3]string{"", "text/plain", "plain"}, [3]string{"burns", "text/plain", "burns"})
	d := digest.FromString("<script>alert(1)</script>")
	gone := digest.FromString("plain")
	for _, row := range []struct {
		name, path string
		status     int
		body, kept string
	}{
		{"a file", a.path() + "/-/file/" + string(d), 200, "<script>alert(1)</script>", "a b;_.html"},
		{"the manifest", a.path() + "/-/file/" + string(a.row.Digest), 200, string(a.manifest), a.row.Digest.Encoded() + ".json"},
		{"a file without a title", a.path() + "/-/file/" + string(gone), 200, "plain", gone.Encoded()},
		{"a file that no manifest names", a.path() + "/-/file/" + string(digest.FromString("x")), 404, "", ""},
		{"no digest", a.path() + "/-/file/passwd", 404, "", ""},
		{"a file of a tag", "/images/team/app:v1/-/file/" + string(d), 404, "", ""},
		{"a file of a repository", "/images/team/app/-/file/" + string(d), 404, "", ""},
		{"a file of a manifest that is not here", "/images/team/app@" + string(d) + "/-/file/" + string(d), 404, "", ""},
		{"a fault", a.path() + "/-/file/" + string(digest.FromString("burns")), 500, "", ""},
	} {
		answer, _ := openAt(a, row.path)
		if answer.Code != row.status || row.body != "" && answer.Body.String() != row.body {
			t.Errorf("%s: got %d: %s", row.name, answer.Code, answer.Body)
		}
		if row.status != http.StatusOK {
			continue
		}
		h := answer.Header()
		if h.Get("Content-Type") != "application/octet-stream" || h.Get("X-Content-Type-Options") != "nosniff" ||
			h.Get("Content-Disposition") != `attachment; filename="`+row.kept+`"` || !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") ||
			h.Get("Content-Length") != fmt.Sprint(len(row.body)) {
			t.Errorf("%s: a browser may show it: %v", row.name, h)
		}
	}
}
