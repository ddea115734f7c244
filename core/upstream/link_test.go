package upstream

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestNextPage(t *testing.T) {
	const list = "/v2/team/app/tags/list"
	base := &url.URL{Scheme: "https", Host: "registry.test"}
	for _, tt := range []struct {
		name string
		link []string
		want string // the query
		err  bool
	}{
		{"a path", []string{`<` + list + `?last=b&n=2>; rel="next"`}, "last=b&n=2", false},
		{"a query alone", []string{`<?last=b>; rel="next"`}, "last=b", false},
		{"a relative path", []string{`<list?last=b>; rel="next"`}, "last=b", false},
		{"an absolute URL", []string{`<https://registry.test` + list + `?last=b>; rel="next"`}, "last=b", false},
		{"a URL without its scheme", []string{`<//registry.test` + list + `?last=b>; rel="next"`}, "last=b", false},

		// Names that a registry behind a proxy uses for itself.
		{"another scheme", []string{`<http://registry.test` + list + `?last=b>; rel="next"`}, "last=b", false},
		{"an inner host and port", []string{`<http://10.0.0.7:5000` + list + `?last=b>; rel="next"`}, "last=b", false},
		{"an inner prefix", []string{`</artifactory/api/docker/hub` + list + `?last=b>; rel="next"`}, "last=b", false},
		{"a path that is escaped", []string{`</v2/team%2Fapp/tags/list?last=b>; rel="next"`}, "last=b", false},

		// RFC 8288, 2.1.1 and 3: no case in names and relations, and a list of these.
		{"no quotes", []string{`<?last=b>; rel=next`}, "last=b", false},
		{"no spaces", []string{`<?last=b>;rel=next`}, "last=b", false},
		{"spaces and tabs", []string{" <?last=b>\t; rel\t=  \"next\" "}, "last=b", false},
		{"capitals", []string{`<?last=b>; Rel="NEXT"`}, "last=b", false},
		{"several relations", []string{`<?last=b>; rel="prefetch  next"`}, "last=b", false},
		{"a relation that begins so", []string{`<?last=b>; rel="nextish"`}, "", false},
		{"a relation that has it in a URL", []string{`<?last=b>; rel="https://next/next"`}, "", false},
		{"another parameter first", []string{`<?last=b>; title="a, b; rel=x <1>"; rel="next"`}, "last=b", false},
		{"a quoted quote", []string{`<?last=b>; title="\"; rel=prev; \""; rel=next`}, "last=b", false},
		{"it in a title alone", []string{`<?last=b>; title="rel=\"next\""`}, "", false},
		{"it in the target alone", []string{`<?rel="next">; rel=prev`}, "", false},
		{"a parameter without a value", []string{`<?last=b>; crossorigin; rel=next`}, "last=b", false},
		{"an empty parameter", []string{`<?last=b>;; rel=next;`}, "last=b", false},
		{"a value that is not one", []string{`<?last=b>; x=a:b@c; rel=next`}, "last=b", false},
		{"a language", []string{`<?last=b>; title*=UTF-8'de'n%c3%a4; rel=next`}, "last=b", false},
		{"a second rel, which does not count", []string{`<?last=b>; rel=prev; rel=next`}, "", false},
		{"a first rel, which does", []string{`<?last=b>; rel=next; rel=prev`}, "last=b", false},
		{"an anchor, which makes it another's", []string{`<?last=b>; rel=next; anchor="/other"`}, "", false},
		{"several in one field", []string{`<?last=a>; rel=prev, <?last=b>; rel=next, <?last=c>; rel=last`}, "last=b", false},
		{"several in one field, with commas inside", []string{`<?last=a,1>; rel="first,next"; title="x, <y>; rel=next", <?last=b,2>; rel=next`}, "last=b,2", false},
		{"several fields", []string{`<?last=a>; rel=prev`, `<?last=b>; rel=next`}, "last=b", false},
		{"a field that is broken, and one that is not", []string{`<?last=a; rel=next`, `<?last=b>; rel=next`}, "last=b", false},
		{"empty entries", []string{`, ,<?last=b>; rel=next,`}, "last=b", false},
		{"nothing", nil, "", false},
		{"no next", []string{`<?last=b>; rel=prev`}, "", false},

		{"another repository", []string{`</v2/secret/tags/list?last=b>; rel=next`}, "", true},
		{"another repository that ends alike", []string{`</v2/my-team/app/tags/list?last=b>; rel=next`}, "", true},
		{"another list", []string{`</v2/team/app/referrers/x?last=b>; rel=next`}, "", true},
		{"a list below it", []string{`<` + list + `/x?last=b>; rel=next`}, "", true},
		{"no query", []string{`<` + list + `>; rel=next`}, "", true},
		{"the same query", []string{`<?n=1000>; rel=next`}, "", true},
		{"not a URL", []string{`<http://[::1>; rel=next`}, "", true},
		{"another kind of URL", []string{`<javascript:x?last=b>; rel=next`}, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &reply{trip: &trip{}, base: base, Response: &http.Response{Header: http.Header{"Link": tt.link}}}
			got, err := r.next("team/app", "tags/list?n=1000")
			if (err != nil) != tt.err || got != "" && got != "tags/list?"+tt.want || got == "" && tt.want != "" {
				t.Errorf("got %q, %v, want %q, an error: %t", got, err, tt.want, tt.err)
			}
		})
	}
	t.Run("after a redirect", func(t *testing.T) {
		to, _ := url.Parse("https://other.test/v2/real/name/tags/list?n=1000")
		r := &reply{trip: &trip{}, base: base, Response: &http.Response{
			Request: &http.Request{URL: to}, Header: http.Header{"Link": {`</v2/real/name/tags/list?last=b>; rel=next`}},
		}}
		if got, err := r.next("team/app", "tags/list?n=1000"); err != nil || got != "tags/list?last=b" {
			t.Errorf("got %q, %v", got, err)
		}
	})
	if got := parseLinks([]string{strings.Repeat(`<?a>; rel=prev,`, 10*maxLinks)}); len(got) > maxLinks {
		t.Errorf("got %d links, want at most %d", len(got), maxLinks)
	}
}
