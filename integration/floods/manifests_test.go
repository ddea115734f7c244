package floods

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

const (
	imageType = "application/vnd.oci.image.manifest.v1+json"
	indexType = "application/vnd.oci.image.index.v1+json"
	// largest is the largest manifest that registries take, in bytes.
	largest = 4 << 20
	// atOnce is how many of them come at the same time.
	atOnce = 8
)

// bombs are documents of largest bytes that cost a parser many times their size.
var bombs = []struct {
	name, mediaType      string
	prefix, item, suffix string
}{
	{"image of empty layers", imageType, `{"schemaVersion":2,"config":{},"layers":[`, `{}`, `]}`},
	{"index of empty manifests", indexType, `{"schemaVersion":2,"manifests":[`, `{}`, `]}`},
	{"image of null layers", imageType, `{"schemaVersion":2,"config":{},"layers":[`, `null`, `]}`},
	{"layers as an index", indexType, `{"schemaVersion":2,"config":{},"layers":[`, `{}`, `]}`},
	{"artifact of blobs", "application/vnd.oci.artifact.manifest.v1+json", `{"blobs":[`, `{}`, `]}`},
	{"layers in lists", imageType, `{"schemaVersion":2,"config":{},"layers":[`, `[[]]`, `]}`},
	{"layers that are numbers", imageType, `{"schemaVersion":2,"config":{},"layers":[`, `0`, `]}`},
	{"empty texts in an unknown member", imageType, `{"schemaVersion":2,"config":{},"layers":[],"x":[`, `""`, `]}`},
	{"objects in an unknown member", imageType, `{"schemaVersion":2,"config":{},"layers":[],"x":[`, `{"digest":0}`, `]}`},
	{"one annotation again and again", imageType, `{"schemaVersion":2,"config":{},"layers":[],"annotations":{`, `"":""`, `}}`},
	{"one layers again and again", imageType, `{"schemaVersion":2,"config":{}`, `"layers":[]`, `}`},
	{"urls of a layer", imageType, `{"schemaVersion":2,"config":{},"layers":[{"urls":[`, `""`, `]}]}`},
	{"features of a platform", indexType, `{"schemaVersion":2,"manifests":[{"platform":{"os.features":[`, `""`, `]}}]}`},
	{"an empty document of another type", "application/vnd.x+json", `{"x":[`, `{}`, `]}`},
	{"digests that are none", "application/vnd.x+json", `{"x":[`, `{"digest":"sha256:0"}`, `]}`},
	{"digests of one blob", "application/vnd.x+json", `{"x":[`, `{"digest":"sha256:` + strings.Repeat("0", 64) + `"}`, `]}`},
	{"lists in lists", imageType, `{"schemaVersion":2,"config":{},"layers":[],"x":[`, strings.Repeat("[", 5000) + strings.Repeat("]", 5000), `]}`},
}

// annotated returns a document whose annotations all have different names.
func annotated(size int) []byte {
	b := []byte(`{"schemaVersion":2,"config":{},"layers":[],"annotations":{"":""`)
	for i := int64(0); len(b) < size-20; i++ {
		b = append(strconv.AppendInt(append(b, `,"`...), i, 16), `":""`...)
	}
	return append(b, "}}"...)
}

// bomb is document n of a kind: the kinds repeat, and no two documents are alike.
func bomb(n int) (name, mediaType string, content []byte) {
	if n%(len(bombs)+1) == len(bombs) {
		return "annotations of many names", imageType, annotated(largest - n%64)
	}
	kind := bombs[n%(len(bombs)+1)]
	suffix := fmt.Sprintf(`%s%*s`, kind.suffix, n%64, "")
	return kind.name, kind.mediaType, repeat(largest, kind.prefix, kind.item, suffix)
}

// A create-only key pushes manifests that are cheap to send and expensive to parse.
func TestPushedManifests(t *testing.T) {
	f := start(t, "", "")
	ci := f.ci()
	push := func(i int) error {
		name, mediaType, content := bomb(i)
		status, err := f.ask(ci, http.MethodPut, fmt.Sprintf("/v2/team/app/manifests/t%d", i), mediaType, content)
		if err != nil || status >= 500 && status != http.StatusServiceUnavailable {
			return fmt.Errorf("push of %s: status %d: %v", name, status, err)
		}
		return nil
	}
	for kind := range count(2, len(bombs)+1) { // the kinds that the worst cases were, atOnce of each
		f.together(atOnce, atOnce, func(i int) error { return push(kind + i*(len(bombs)+1)) })
	}
	f.together(len(bombs)+1, atOnce, push)
	f.bounded()
}

// bombUpstream sends bombs by tag, and lists of referrers that are as bad.
func bombUpstream(t *testing.T) *httptest.Server {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n int
		last := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		switch {
		case strings.Contains(r.URL.Path, "/manifests/t"):
			fmt.Sscanf(last, "t%d", &n)
			_, mediaType, content := bomb(n)
			w.Header().Set("Content-Type", mediaType)
			w.Header().Set("Docker-Content-Digest", digest.FromBytes(content).String())
			w.Write(content)
		case strings.Contains(r.URL.Path, "/referrers/"):
			kinds := []string{`{}`, `null`, `{"annotations":{"":""}}`, `{"digest":"sha256:` + strings.Repeat("0", 64) + `"}`}
			w.Header().Set("Content-Type", indexType)
			w.Write(repeat(2*largest, `{"schemaVersion":2,"mediaType":"`+indexType+`","manifests":[`, kinds[int(last[len(last)-1])%len(kinds)], `]}`))
		case r.URL.Path == "/v2/":
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(up.Close)
	return up
}

func mirrorOf(up *httptest.Server, options string) string {
	return fmt.Sprintf("mirror up.example {\nupstream %s\nallow_private 127.0.0.0/8\n%s\n}", up.URL, options)
}
