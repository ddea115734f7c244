package upstream

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core"
)

// An upstream's answers are not trusted: they must not crash us, or lead to
// private addresses.

func FuzzChallenges(f *testing.F) {
	for _, seed := range []string{
		`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull"`,
		`Basic realm="a \"b\"", Bearer realm=b`, `Negotiate a==,`, `Bearer realm="`, `,,=,"\`, "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		m, ok := choose(parseChallenges([]string{header}))
		if strings.Contains(m.scope, "repository:") {
			t.Errorf("the scope %q of a challenge would be asked for", m.scope)
		}
		if !ok && m != (method{}) {
			t.Errorf("got %+v without a challenge", m)
		}
	})
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 5-9/10", "bytes */10", int64(5), int64(5))
	f.Add("bytes 5-9/*", "bytes */-1", int64(5), int64(-1))
	f.Add("bytes 9223372036854775807-9223372036854775807/*", "", int64(1), int64(1))
	f.Fuzz(func(t *testing.T, ranged, unsatisfied string, offset, length int64) {
		if first, size, ok := parseContentRange(ranged); ok && (first < 0 || size != -1 && size <= first) {
			t.Errorf("%q is from %d of %d", ranged, first, size)
		}
		if n := completeLength(unsatisfied); n < -1 {
			t.Errorf("%q is %d long", unsatisfied, n)
		}
		r := &reply{trip: &trip{}, Response: &http.Response{
			StatusCode: http.StatusPartialContent, ContentLength: max(length, -1),
			Header: http.Header{"Content-Range": {ranged}},
		}}
		if size, skip, err := r.extent(offset); err == nil && (skip != 0 || size < -1) {
			t.Errorf("%q: size %d, %d to skip", ranged, size, skip)
		}
	})
}

func FuzzNextLink(f *testing.F) {
	for _, seed := range []string{
		`</v2/library/nginx/tags/list?last=a&n=1000>; rel="next"`, `<?last=b>; rel=next`, `<https://evil.example/v2/x>; rel="next"`,
		`</v2/library/nginx/tags/list?n=1000>; rel="next"`, `<//evil.example/?a>;rel="next"`, `<a>,<b>;rel="next"`, `<`,
	} {
		f.Add(seed)
	}
	base := &url.URL{Scheme: "https", Host: "registry.test"}
	f.Fuzz(func(t *testing.T, link string) {
		r := &reply{trip: &trip{}, base: base, Response: &http.Response{Header: http.Header{"Link": {link}}}}
		next, err := r.next("library/nginx", "tags/list?n=1000")
		if err != nil || next == "" {
			return
		}
		u, err := base.Parse("/v2/library/nginx/" + next)
		if err != nil || u.Host != base.Host || u.Scheme != base.Scheme || u.Path != "/v2/library/nginx/tags/list" || next == "tags/list?n=1000" {
			t.Errorf("%q leads to %v, %v", link, u, err)
		}
	})
}

func FuzzLimits(f *testing.F) {
	f.Add("100;w=21600", "20;w=21600", "120", int64(0))
	f.Add("-1", "9999999999999999999;w=-5", "Wed, 21 Oct 2099 07:28:00 GMT", int64(1))
	f.Add(";;w=;=", "1,2;w=3", "1893456000", int64(1<<40))
	f.Fuzz(func(t *testing.T, most, left, after string, unix int64) {
		var l limits
		l.note(true, http.Header{"Ratelimit-Limit": {most}, "Ratelimit-Remaining": {left}, "Docker-Ratelimit-Source": {most}})
		if got := l.get(true); got.Limit < 0 || got.Remaining < 0 || got.Window < 0 || got.Window > maxWindow || len(got.Source) > 120 {
			t.Errorf("got %+v", got)
		}
		now := time.Unix(unix%(1<<40), 0)
		if until := retryAfter(after, now, time.Minute); until.Before(now.Add(time.Second)) || until.After(now.Add(maxRetryAfter)) {
			t.Errorf("%q at %v is until %v", after, now, until)
		}
	})
}

// A manifest is judged by its bytes, whatever the headers say.
func FuzzManifest(f *testing.F) {
	f.Add("application/vnd.oci.image.manifest.v1+json", "", `{"schemaVersion":2}`, "")
	f.Add("application/json", "sha256:"+strings.Repeat("a", 64), `{"schemaVersion":1,"manifests":null}`, "")
	f.Add("text/html; charset=x", "sha512:", `{"mediaType":7}`, "sha256:"+strings.Repeat("b", 64))
	f.Fuzz(func(t *testing.T, contentType, promised, body, asked string) {
		want, err := core.ParseDigest(asked)
		if err != nil {
			want = ""
		}
		timer := time.NewTimer(time.Hour)
		defer timer.Stop()
		r := &reply{trip: &trip{stall: time.Hour, timer: timer}, base: &url.URL{}, Response: &http.Response{
			StatusCode: http.StatusOK, ContentLength: -1, Body: io.NopCloser(strings.NewReader(body)),
			Header: http.Header{"Content-Type": {contentType}, "Docker-Content-Digest": {promised}},
		}}
		got, err := r.manifest(t.Context(), core.Reference{Digest: want})
		if err != nil {
			return
		}
		defer got.Release()
		d := got.Descriptor.Digest
		if d.Algorithm().FromBytes(got.Bytes) != d || want != "" && d != want || string(got.Bytes) != body {
			t.Errorf("got %+v of %q", got.Descriptor, body)
		}
		if doc, err := core.Inspect(got.Bytes); err != nil || doc.Ambiguous != nil {
			t.Errorf("it is not a manifest: %v, %v", err, doc.Ambiguous)
		}
	})
}
