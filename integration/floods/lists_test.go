package floods

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestTagsOfALargeUpstream: a page of one tag costs no more if the upstream has a hundred
// thousand tags, for any number of clients.
func TestTagsOfALargeUpstream(t *testing.T) {
	tags := make([]string, 100000)
	for i := range tags {
		tags[i] = fmt.Sprintf("v1.0.%06d", i)
	}
	body, err := json.Marshal(map[string]any{"name": "team/app", "tags": tags})
	if err != nil {
		t.Fatal(err)
	}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/tags/list") {
			w.Header().Set("Content-Type", "application/json")
			w.Write(body)
		}
	}))
	t.Cleanup(up.Close)
	f := start(t, "", mirrorOf(up, ""))
	c := f.anonymous()
	for _, query := range []string{"n=1", "n=1&last=v1.0.050000", "n=1000&last=v1.0.098999", "n=0", "n=1&last=zzz"} {
		f.together(count(200, 2000), 100, func(int) error {
			status, err := f.ask(c, http.MethodGet, "/v2/up.example/team/app/tags/list?"+query, "", nil)
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("%s: status %d", query, status)
			}
			return err
		})
	}
	f.bounded()
}

// TestEndlessListsOfAnUpstream: lists whose pages are large, and whose last page never
// comes, end within bounds on their bytes and not only on their entries.
func TestEndlessListsOfAnUpstream(t *testing.T) {
	const page = 8 << 20
	big := strings.Repeat("x", page-1024)
	for _, row := range []struct{ name, path, body string }{
		{"referrers of one large annotation", "/referrers/", `{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[{"mediaType":"` + imageType +
			`","size":1,"digest":"%s","annotations":{"a":"` + big + `"}}]}`},
		{"referrers with a large member that is unknown", "/referrers/", `{"schemaVersion":2,"mediaType":"` + indexType + `","x":"` + big + `","manifests":[{"mediaType":"` +
			imageType + `","size":1,"digest":"%s"}]}`},
		{"tags with a large member that is unknown", "/tags/list", `{"name":"%.7s","x":"` + big + `","tags":["a"]}`},
		{"a tag that is too long", "/tags/list", `{"name":"%.7s","tags":["` + big + `"]}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			var pages atomic.Int64
			// A server without the bound is stopped here, far beyond it.
			const enough = 60
			up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n := pages.Load()
				if !strings.Contains(r.URL.Path, row.path) || n > enough {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				n = pages.Add(1)
				w.Header().Set("Content-Type", indexType) // ignored for lists of tags
				w.Header().Set("Link", fmt.Sprintf(`<%s?n=1&last=a%d>; rel="next"`, r.URL.Path, n))
				fmt.Fprintf(w, row.body, digest.FromString(fmt.Sprint(n)))
			}))
			t.Cleanup(up.Close)
			f := start(t, "", mirrorOf(up, ""))
			path := "/v2/up.example/team/app" + row.path
			if row.path == "/referrers/" {
				path += digest.FromString("subject").String()
			}
			status, err := f.ask(f.anonymous(), http.MethodGet, path, "", nil)
			if err != nil || status == http.StatusInternalServerError {
				t.Errorf("status %d: %v", status, err)
			}
			// A list may have 16 MiB in all, and one more page shows that it is too long.
			if got := pages.Load(); got > 4 {
				t.Errorf("the upstream sent %d pages of 8 MiB, want at most 4", got)
			}
			f.bounded()
		})
	}
}

// TestLargeReferrers: a list that many clients request is not read once for each, and large
// referrers cost a list no more than small ones.
func TestLargeReferrers(t *testing.T) {
	f := start(t, "", "")
	ci := f.ci()
	subject := digest.FromString("subject")
	pad := strings.Repeat("x", largest-1024)
	config, err := ci.PushBlob(f.ctx, "team/app", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	n := count(20, 60)
	f.together(n, 4, func(i int) error {
		content := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":"text/x","config":{"mediaType":"text/x","digest":%q,"size":2},"layers":[],`+
			`"subject":{"mediaType":%q,"digest":%q,"size":1},"annotations":{"a":"%s%d"}}`, imageType, config, imageType, subject, pad, i)
		return ci.PutManifest(f.ctx, "team/app", fmt.Sprintf("t%d", i), imageType, []byte(content))
	})
	c := f.anonymous()
	for _, query := range []string{"?artifactType=none", "?artifactType=text/x", ""} {
		f.together(60, 60, func(int) error {
			response, err := c.Request(f.ctx, http.MethodGet, "/v2/team/app/referrers/"+subject.String()+query, nil, nil, http.StatusOK)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			var list struct{ Manifests []struct{ Digest string } }
			if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
				return err
			}
			if want := n; query == "?artifactType=none" && len(list.Manifests) != 0 || query != "?artifactType=none" && len(list.Manifests) != want && response.Header.Get("Link") == "" {
				return fmt.Errorf("%s: %d referrers, want %d, or none of another type", query, len(list.Manifests), want)
			}
			return nil
		})
	}
	f.bounded()
}
