package wire

import (
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

var (
	someDigest = digest.FromString("some")
	wideDigest = digest.SHA512.FromString("some")
)

func TestParse(t *testing.T) {
	some, wide := string(someDigest), string(wideDigest)
	for _, tt := range []struct {
		name, method, url string
		want              Request
	}{
		{"the root", "GET", "/v2/", Request{Kind: Ping}},
		{"the root without its slash", "HEAD", "/v2", Request{Kind: Ping}},
		{"the catalog", "GET", "/v2/_catalog", Request{Kind: Catalog}},
		{"a page of the catalog", "GET", "/v2/_catalog?n=2&last=a/b", Request{Kind: Catalog, N: 2, Last: "a/b"}},
		{"a manifest by tag", "GET", "/v2/a/b/manifests/v1", Request{Kind: Manifest, Name: "a/b", Ref: core.Reference{Tag: "v1"}}},
		{"a manifest by digest", "HEAD", "/v2/a/manifests/" + some, Request{Kind: Manifest, Name: "a", Ref: core.Reference{Digest: someDigest}}},
		{"a mirrored manifest", "GET", "/v2/library/redis/manifests/7?ns=docker.io", Request{Kind: Manifest, Name: "library/redis", Ref: core.Reference{Tag: "7"}, NS: "docker.io"}},
		{"ns with a port", "GET", "/v2/a/manifests/7?ns=localhost:5000", Request{Kind: Manifest, Name: "a", Ref: core.Reference{Tag: "7"}, NS: "localhost:5000"}},
		{"a push by tag", "PUT", "/v2/a/manifests/v1", Request{Kind: PutManifest, Name: "a", Ref: core.Reference{Tag: "v1"}}},
		{"a push with tags, one of them twice", "PUT", "/v2/a/manifests/" + some + "?tag=x&tag=y&tag=x", Request{Kind: PutManifest, Name: "a", Ref: core.Reference{Digest: someDigest}, Tags: []string{"x", "y"}}},
		{"a manifest deleted", "DELETE", "/v2/a/manifests/v1", Request{Kind: DeleteManifest, Name: "a", Ref: core.Reference{Tag: "v1"}}},
		{"a blob", "GET", "/v2/a/blobs/" + wide, Request{Kind: Blob, Name: "a", Digest: wideDigest}},
		{"a blob whose colon is encoded", "GET", "/v2/a/blobs/" + strings.Replace(some, ":", "%3A", 1), Request{Kind: Blob, Name: "a", Digest: someDigest}},
		{"a blob deleted", "DELETE", "/v2/a/blobs/" + some, Request{Kind: DeleteBlob, Name: "a", Digest: someDigest}},
		{"an upload begun", "POST", "/v2/a/blobs/uploads/", Request{Kind: StartUpload, Name: "a", DigestAlgorithm: digest.SHA256}},
		{"an upload begun without the slash", "POST", "/v2/a/blobs/uploads", Request{Kind: StartUpload, Name: "a", DigestAlgorithm: digest.SHA256}},
		{"an upload with an algorithm", "POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512", Request{Kind: StartUpload, Name: "a", DigestAlgorithm: digest.SHA512}},
		{"an upload in one request", "POST", "/v2/a/blobs/uploads/?digest=" + wide, Request{Kind: StartUpload, Name: "a", Digest: wideDigest, DigestAlgorithm: digest.SHA512}},
		{"a mount", "POST", "/v2/a/blobs/uploads/?from=b%2Fc&mount=" + some, Request{Kind: StartUpload, Name: "a", Mount: someDigest, From: "b/c", DigestAlgorithm: digest.SHA256}},
		{"a mount of no digest", "POST", "/v2/a/blobs/uploads/?mount=x", Request{Kind: StartUpload, Name: "a", DigestAlgorithm: digest.SHA256}},
		{"a mount of no digest from a repository", "POST", "/v2/a/blobs/uploads/?mount=sha256:&from=b", Request{Kind: StartUpload, Name: "a", DigestAlgorithm: digest.SHA256}},
		{"a mount by an unknown algorithm", "POST", "/v2/a/blobs/uploads/?mount=md5:d41d8cd98f00b204e9800998ecf8427e&from=b", Request{Kind: StartUpload, Name: "a", DigestAlgorithm: digest.SHA256}},
		{"a mount of capitals", "POST", "/v2/a/blobs/uploads/?mount=sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA&from=b", Request{Kind: StartUpload, Name: "a", DigestAlgorithm: digest.SHA256}},
		{"a mount from no repository", "POST", "/v2/a/blobs/uploads/?from=../b&mount=" + some, Request{Kind: StartUpload, Name: "a", DigestAlgorithm: digest.SHA256}},
		{"a mount from capitals", "POST", "/v2/a/blobs/uploads/?from=B&mount=" + some, Request{Kind: StartUpload, Name: "a", DigestAlgorithm: digest.SHA256}},
		{"a mount from a slash", "POST", "/v2/a/blobs/uploads/?from=%2F&mount=" + some, Request{Kind: StartUpload, Name: "a", DigestAlgorithm: digest.SHA256}},
		{"a mount from a name that is too long", "POST", "/v2/a/blobs/uploads/?from=" + strings.Repeat("a", 300) + "&mount=" + some, Request{Kind: StartUpload, Name: "a", DigestAlgorithm: digest.SHA256}},
		{"a mount from anywhere", "POST", "/v2/a/blobs/uploads/?mount=" + some, Request{Kind: StartUpload, Name: "a", Mount: someDigest, DigestAlgorithm: digest.SHA256}},
		{"a chunk", "PATCH", "/v2/a/blobs/uploads/0a-1", Request{Kind: PatchUpload, Name: "a", UploadID: "0a-1"}},
		{"an upload ended", "PUT", "/v2/a/blobs/uploads/x?digest=" + some, Request{Kind: PutUpload, Name: "a", UploadID: "x", Digest: someDigest}},
		{"an upload's status", "GET", "/v2/a/blobs/uploads/x", Request{Kind: UploadStatus, Name: "a", UploadID: "x"}},
		{"an upload cancelled", "DELETE", "/v2/a/blobs/uploads/x", Request{Kind: CancelUpload, Name: "a", UploadID: "x"}},
		{"tags", "GET", "/v2/a/tags/list", Request{Kind: ListTags, Name: "a"}},
		{"no tags, please", "GET", "/v2/a/tags/list?n=0", Request{Kind: ListTags, Name: "a", N: 0}},
		{"a page of tags", "GET", "/v2/a/tags/list?n=10&last=x", Request{Kind: ListTags, Name: "a", N: 10, Last: "x"}},
		{"referrers", "GET", "/v2/a/referrers/" + some + "?artifactType=a%2Fb", Request{Kind: ListReferrers, Name: "a", Digest: someDigest, ArtifactType: "a/b"}},
		{"an unknown parameter", "GET", "/v2/a/tags/list?color=blue", Request{Kind: ListTags, Name: "a"}},

		// Names may have the words of the endpoints in them.
		{"a repository that ends like an upload", "GET", "/v2/a/blobs/uploads/manifests/v1", Request{Kind: Manifest, Name: "a/blobs/uploads", Ref: core.Reference{Tag: "v1"}}},
		{"a repository that ends like a list", "GET", "/v2/a/tags/list/tags/list", Request{Kind: ListTags, Name: "a/tags/list"}},
		{"a repository called uploads", "GET", "/v2/uploads/blobs/" + some, Request{Kind: Blob, Name: "uploads", Digest: someDigest}},
		{"a repository called v2", "GET", "/v2/v2/manifests/v2", Request{Kind: Manifest, Name: "v2", Ref: core.Reference{Tag: "v2"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, err := url.Parse(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Repo = tt.want.Name
			if u.Query().Get("n") == "" {
				tt.want.N = -1
			}
			got, err := Parse(tt.method, u)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, tt.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	some := string(someDigest)
	for _, tt := range []struct {
		name, method, url string
		want              error
	}{
		{"another API", "GET", "/v1/", errRoute},
		{"the root and more", "GET", "/v2/x", errRoute},
		{"an unknown word", "GET", "/v2/a/things/x", errRoute},
		{"an empty last element", "GET", "/v2/a/manifests/", errRoute},
		{"no repository", "GET", "/v2/manifests/v1", errRoute},
		{"a list with a slash behind it", "GET", "/v2/a/tags/list/", errRoute},
		{"a broken escape", "GET", "/v2/a/manifests/%zz", errRoute},
		{"a path without slashes", "GET", "/v2abc", errRoute},

		{"a method that manifests do not have", "POST", "/v2/a/manifests/v1", core.ErrUnsupported},
		{"an unknown method", "BREW", "/v2/", core.ErrUnsupported},
		{"a push of a list", "PUT", "/v2/a/tags/list", core.ErrUnsupported},
		{"a GET where uploads begin", "GET", "/v2/a/blobs/uploads/", core.ErrUnsupported},

		// The way out of the repository's directory, and into our own names.
		{"dots", "GET", "/v2/a/../b/manifests/v1", core.ErrNameInvalid},
		{"an encoded slash in a name", "GET", "/v2/a%2Fb/manifests/v1", core.ErrNameInvalid},
		{"an encoded letter in a name", "GET", "/v2/%61/manifests/v1", core.ErrNameInvalid},
		{"an encoded slash in a tag", "GET", "/v2/a/manifests/x%2Fy", core.ErrTagInvalid},
		{"a component that begins with an underscore", "GET", "/v2/a/_tags/manifests/v1", core.ErrNameInvalid},
		{"a name in capitals", "GET", "/v2/A/manifests/v1", core.ErrNameInvalid},
		{"an empty component", "GET", "/v2/a//b/manifests/v1", core.ErrNameInvalid},
		{"a long name", "GET", "/v2/" + strings.Repeat("a", 256) + "/manifests/v1", core.ErrNameInvalid},
		{"a long tag", "GET", "/v2/a/manifests/" + strings.Repeat("a", 129), core.ErrTagInvalid},
		{"a bad digest", "GET", "/v2/a/manifests/sha256:abc", core.ErrDigestInvalid},
		{"a blob by tag", "GET", "/v2/a/blobs/v1", core.ErrDigestInvalid},
		{"an algorithm that is too weak", "GET", "/v2/a/blobs/md5:" + strings.Repeat("a", 32), core.ErrDigestInvalid},
		{"referrers of a tag", "GET", "/v2/a/referrers/v1", core.ErrDigestInvalid},
		{"an upload in capitals", "GET", "/v2/a/blobs/uploads/X", core.ErrBlobUploadUnknown},
		{"an upload of dots", "GET", "/v2/a/blobs/uploads/..", core.ErrBlobUploadUnknown},

		{"a query that is broken", "GET", "/v2/a/tags/list?n=%zz", ErrQuery},
		{"n that is not a number", "GET", "/v2/a/tags/list?n=ten", ErrQuery},
		{"n below zero", "GET", "/v2/a/tags/list?n=-1", ErrQuery},
		{"n beyond all numbers", "GET", "/v2/a/tags/list?n=99999999999999999999", ErrQuery},
		{"last that is not a tag", "GET", "/v2/a/tags/list?last=/", core.ErrTagInvalid},
		{"last that is not a repository", "GET", "/v2/_catalog?last=A", core.ErrNameInvalid},
		{"last that is not a digest", "GET", "/v2/a/referrers/" + some + "?last=x", core.ErrDigestInvalid},
		{"a long artifact type", "GET", "/v2/a/referrers/" + some + "?artifactType=" + strings.Repeat("a", 256), ErrQuery},
		{"ns with a space", "GET", "/v2/a/manifests/v1?ns=a%20b", core.ErrNameUnknown},
		{"ns with a line break", "GET", "/v2/a/manifests/v1?ns=a%0d%0ab", core.ErrNameUnknown},
		{"a long ns", "GET", "/v2/a/manifests/v1?ns=" + strings.Repeat("a", 300), core.ErrNameUnknown},
		{"a bad tag beside the digest", "PUT", "/v2/a/manifests/" + some + "?tag=-", core.ErrTagInvalid},
		{"more tags than one push may have", "PUT", "/v2/a/manifests/" + some + "?" + strings.Repeat("tag=a&", 101), errTags},
		{"a closing PUT without a digest", "PUT", "/v2/a/blobs/uploads/x", core.ErrDigestInvalid},
		{"a closing PUT with another parameter", "PUT", "/v2/a/blobs/uploads/x?ns=a", core.ErrDigestInvalid},
		{"a closing PUT with a bad digest", "PUT", "/v2/a/blobs/uploads/x?digest=sha256:x", core.ErrDigestInvalid},
		{"an upload with a bad digest", "POST", "/v2/a/blobs/uploads/?digest=x", core.ErrDigestInvalid},
		{"an upload with an unknown algorithm", "POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", core.ErrDigestInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &url.URL{}
			u.Path, u.RawQuery, _ = strings.Cut(tt.url, "?")
			if path, err := url.PathUnescape(u.Path); err == nil {
				u.Path, u.RawPath = path, u.Path
			} else {
				u.RawPath = u.Path
			}
			if tt.want == errRoute && strings.Contains(tt.url, "%zz") {
				// A server refuses such a target itself; a caller might not.
				u = &url.URL{Path: "/v2/a/manifests/", RawPath: "/v2/a/manifests/%zz"}
			}
			if got, err := Parse(tt.method, u); !errors.Is(err, tt.want) {
				t.Errorf("got %+v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestKindNames(t *testing.T) {
	seen := map[string]bool{}
	for k := Kind(-1); k <= Catalog+1; k++ {
		known := k >= Ping && k <= Catalog
		if got := k.String(); (got != "none") != known || known && seen[got] {
			t.Errorf("Kind(%d) is %q", k, got)
		} else {
			seen[got] = true
		}
	}
	if len(handlers) != len(kindNames) {
		t.Errorf("%d handlers for %d kinds", len(handlers), len(kindNames))
	}
}

// FuzzParse checks that nothing panics, that every accepted request is valid, and
// that a request written as a URL is the same request.
func FuzzParse(f *testing.F) {
	some := string(someDigest)
	for _, target := range []string{
		"/v2/", "/v2/_catalog?n=1&last=a", "/v2/a/tags/list?n=0", "/v2/a/manifests/v1?ns=docker.io",
		"/v2/a/manifests/" + some + "?tag=a&tag=b", "/v2/a/blobs/" + some, "/v2/a/blobs/uploads/?mount=" + some + "&from=b",
		"/v2/a/blobs/uploads/?digest-algorithm=sha512", "/v2/a/blobs/uploads/x?digest=" + some, "/v2/a/referrers/" + some + "?artifactType=a/b",
		"/v2/a%2fb/manifests/x", "/v2/a/manifests/%2e%2e", "//v2/a", "/v2/../v2/", "/v2/a/blobs/uploads//",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			f.Add(method, target)
		}
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		req, err := Parse(method, u)
		if err != nil {
			if _, status := classify(&http.Request{}, err); status >= 500 {
				t.Errorf("%s %s: %v is status %d", method, target, err, status)
			}
			return
		}
		checkValid(t, req)
		again, err := url.ParseRequestURI(format(req))
		if err != nil {
			t.Fatalf("format %+v: %v", req, err)
		}
		if got, err := Parse(method, again); err != nil || !reflect.DeepEqual(got, req) {
			t.Errorf("%s %s is %+v, and as %s it is %+v, %v", method, target, req, again, got, err)
		}
	})
}

func checkValid(t *testing.T, req Request) {
	t.Helper()
	check := func(what, value string, err error) {
		if value != "" && err != nil {
			t.Errorf("%s %q was accepted: %v", what, value, err)
		}
	}
	_, err := core.ParseName(req.Name)
	check("name", req.Name, err)
	_, err = core.ParseName(req.From)
	check("from", req.From, err)
	for _, d := range []digest.Digest{req.Digest, req.Mount, req.Ref.Digest} {
		check("digest", string(d), d.Validate())
	}
	for _, tag := range append(req.Tags, req.Ref.Tag) {
		_, err := core.ParseTag(tag)
		check("tag", tag, err)
	}
	if strings.ContainsAny(req.NS, " /\\\r\n<>\"?#") {
		t.Errorf("ns %q was accepted", req.NS)
	}
	if req.Kind == 0 || req.Repo != req.Name {
		t.Errorf("incomplete: %+v", req)
	}
}

// format writes a request as a URL.
func format(req Request) string {
	query := url.Values{}
	set := func(key, value string) {
		if value != "" {
			query.Set(key, value)
		}
	}
	set("ns", req.NS)
	set("last", req.Last)
	set("artifactType", req.ArtifactType)
	if req.N >= 0 {
		query["n"] = []string{strconv.Itoa(req.N)}
	}
	path := "/v2/" + req.Name
	switch req.Kind {
	case Ping:
		path = "/v2/"
	case Catalog:
		path = "/v2/_catalog"
	case ListTags:
		path += "/tags/list"
	case Manifest, PutManifest, DeleteManifest:
		path += "/manifests/" + req.Ref.String()
		query["tag"] = req.Tags
	case Blob, DeleteBlob:
		path += "/blobs/" + string(req.Digest)
	case ListReferrers:
		path += "/referrers/" + string(req.Digest)
	case StartUpload:
		path += "/blobs/uploads/"
		set("digest", string(req.Digest))
		set("mount", string(req.Mount))
		set("from", req.From)
		set("digest-algorithm", string(req.DigestAlgorithm))
	default:
		path += "/blobs/uploads/" + req.UploadID
		set("digest", string(req.Digest))
	}
	return path + "?" + query.Encode()
}

func BenchmarkParse(b *testing.B) {
	u := &url.URL{Path: "/v2/docker.io/library/nginx/manifests/" + string(someDigest)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(http.MethodGet, u); err != nil {
			b.Fatal(err)
		}
	}
}
