package upstream_test

import (
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

func TestRequestsAreSpans(t *testing.T) {
	f := start(t, upstreamtest.Config{Kind: upstreamtest.Hub}, nil)
	spans := new(coretest.Spans)
	ctx := spans.Context(t.Context())
	if _, err := f.client.Head(ctx, repo, tag); err != nil {
		t.Fatal(err)
	}
	body, _, err := f.client.Blob(ctx, repo, f.blob, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, body) // the digest is not the subject
	_ = body.Close()
	if _, err := f.client.Head(ctx, repo, core.Reference{Tag: "missing"}); err == nil {
		t.Fatal("a missing tag was found")
	}
	_, registry, _ := net.SplitHostPort(f.Registry)
	_, token, _ := net.SplitHostPort(f.Token)
	_, storage, _ := net.SplitHostPort(f.Storage)
	ports := strings.NewReplacer("="+registry, "=registry", "="+token, "=token", "="+storage, "=storage")
	manifest := "request > HEAD /v2/{name}/manifests/{reference} registry.mirror=fake http.request.method=HEAD " +
		"url.template=/v2/{name}/manifests/{reference} url.scheme=http server.address=127.0.0.1 server.port=registry "
	want := []string{
		manifest + "http.response.status_code=401 failed 401",
		"request > GET token registry.mirror=fake http.request.method=GET url.scheme=http server.address=127.0.0.1 " +
			"server.port=token http.response.status_code=200 http.response.body.size=",
		manifest + "http.response.status_code=200",
		"request > GET /v2/{name}/blobs/{digest} registry.mirror=fake http.request.method=GET " +
			"url.template=/v2/{name}/blobs/{digest} url.scheme=http server.address=127.0.0.1 server.port=registry " +
			"http.response.status_code=307",
		"request > GET storage registry.mirror=fake http.request.method=GET url.scheme=http server.address=127.0.0.1 " +
			"server.port=storage http.response.status_code=200 http.response.body.size=8192",
		manifest + "http.response.status_code=404 failed 404",
	}
	got := spans.Ended()
	if len(got) != len(want) {
		t.Fatalf("got %d spans, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for i := range want {
		if line := ports.Replace(got[i]); !strings.HasPrefix(line, want[i]) {
			t.Errorf("span %d: got\n%s\nwant\n%s", i, line, want[i])
		}
	}
}

// An upstream must not learn which requests belong together.
func TestAnUpstreamSeesTheSameRequestWithAndWithoutATrace(t *testing.T) {
	var seen [2][]string
	for i := range seen {
		f := start(t, upstreamtest.Config{Kind: upstreamtest.Hub}, nil)
		ctx := t.Context()
		if i == 1 {
			ctx = new(coretest.Spans).Context(ctx)
		}
		answer, err := f.client.Manifest(ctx, repo, tag)
		if err != nil {
			t.Fatal(err)
		}
		answer.Release()
		for _, r := range f.Recorded() {
			seen[i] = append(seen[i], r.String()+": "+strings.Join(slices.Sorted(maps.Keys(r.Header)), " "))
		}
	}
	if !slices.Equal(seen[0], seen[1]) || len(seen[0]) != 3 {
		t.Errorf("got without a trace\n%s\nand with one\n%s\nwant three of the same",
			strings.Join(seen[0], "\n"), strings.Join(seen[1], "\n"))
	}
}

func TestAnAnswerThatBreaksOffIsAFailedSpan(t *testing.T) {
	f := start(t, upstreamtest.Config{}, nil)
	f.Fault(upstreamtest.Fault{Path: "/blobs/", CutOff: true, After: 100})
	spans := new(coretest.Spans)
	body, _, err := f.client.Blob(spans.Context(t.Context()), repo, f.blob, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, body)
	_ = body.Close()
	got := spans.Ended()
	if len(got) != 1 || !strings.HasSuffix(got[0], "http.response.body.size=100 failed _OTHER") {
		t.Errorf("got %q, want one span of 100 bytes that failed", got)
	}
}
