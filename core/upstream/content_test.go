package upstream_test

import (
	"bytes"
	"context"
	"crypto/sha512"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

func header(name, value string) http.Header { return http.Header{name: {value}} }

func TestHeadSays(t *testing.T) {
	other := string(digest.FromString("other"))
	for _, tt := range []struct {
		name  string
		fault upstreamtest.Fault
		ref   core.Reference
		err   error
	}{
		{"the digest", upstreamtest.Fault{}, tag, nil},
		{"unavailable of a 500", upstreamtest.Fault{Status: 500}, tag, upstream.ErrUnavailable},
		{"rate limited of a 429", upstreamtest.Fault{Status: 429}, tag, upstream.ErrRateLimited},

		{"unavailable of a 503", upstreamtest.Fault{Status: 503}, tag, upstream.ErrUnavailable},

		// The rest are reasons for a GET: a HEAD never says no.
		{"no digest of a 400", upstreamtest.Fault{Status: 400}, tag, upstream.ErrNoDigest},
		{"no digest of a 401", upstreamtest.Fault{Status: 401}, tag, upstream.ErrNoDigest},
		{"no digest of a 403", upstreamtest.Fault{Status: 403}, tag, upstream.ErrNoDigest},
		{"no digest of a 404", upstreamtest.Fault{Status: 404}, tag, upstream.ErrNoDigest},
		{"no digest of a 405", upstreamtest.Fault{Status: 405}, tag, upstream.ErrNoDigest},
		{"no digest of a 410", upstreamtest.Fault{Status: 410}, tag, upstream.ErrNoDigest},
		{"no digest of a 501", upstreamtest.Fault{Status: 501}, tag, upstream.ErrNoDigest},
		{"no digest of a 200 without one", upstreamtest.Fault{NoDigest: true}, tag, upstream.ErrNoDigest},
		{"no digest of a 200 with a broken one", upstreamtest.Fault{Header: header("Docker-Content-Digest", "sha256:../../x")}, tag, upstream.ErrNoDigest},

		{"no digest of another digest", upstreamtest.Fault{Header: header("Docker-Content-Digest", other)}, core.Reference{Digest: digest.FromBytes(document)}, upstream.ErrNoDigest},
		{"no digest of schema 1", upstreamtest.Fault{Header: header("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")}, tag, upstream.ErrNoDigest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, upstreamtest.Config{}, nil)
			f.Fault(tt.fault)
			_, err := f.client.Head(t.Context(), repo, tt.ref)
			if !errors.Is(err, tt.err) {
				t.Errorf("got %v, want %v", err, tt.err)
			}
		})
	}
}

func TestManifestIsWhatWasAsked(t *testing.T) {
	sum := sha512.Sum512(document)
	long := digest.NewDigestFromBytes(digest.SHA512, sum[:])
	huge := `{"schemaVersion":2,"annotations":{"x":"` + strings.Repeat("x", core.MaxManifestSize) + `"}}`
	for _, tt := range []struct {
		name  string
		data  string
		kind  string // Content-Type
		as    digest.Digest
		fault upstreamtest.Fault
		want  digest.Digest
		err   error
	}{
		{"by tag", string(document), index, "", upstreamtest.Fault{}, digest.FromBytes(document), nil},
		{"by tag, without a digest or a length", string(document), index, "", upstreamtest.Fault{NoDigest: true, NoLength: true}, digest.FromBytes(document), nil},
		{"by tag, as sha512", string(document), index, long, upstreamtest.Fault{}, long, nil},
		{"with its type in the bytes alone", string(document), "application/json", "", upstreamtest.Fault{}, digest.FromBytes(document), nil},

		{"not with a byte changed", string(document), index, "", upstreamtest.Fault{Corrupt: true}, "", upstream.ErrCorrupt},
		{"not with another digest promised", string(document), index, digest.FromString("other"), upstreamtest.Fault{}, "", upstream.ErrCorrupt},
		{"not cut off", string(document), index, "", upstreamtest.Fault{CutOff: true, After: 9}, "", upstream.ErrUnavailable},
		{"not short", string(document), index, "", upstreamtest.Fault{Short: true, After: 9}, "", upstream.ErrCorrupt},
		{"not short without a digest", string(document), index, "", upstreamtest.Fault{Short: true, After: 9, NoDigest: true}, "", upstream.ErrCorrupt},
		{"not too large by its length", huge, index, "", upstreamtest.Fault{}, "", upstream.ErrTooLarge},
		{"not too large without a length", huge, index, "", upstreamtest.Fault{NoLength: true}, "", upstream.ErrTooLarge},
		{"not a web page", "<html>", "text/html", "", upstreamtest.Fault{}, "", upstream.ErrCorrupt},
		{"not a web page as a manifest", "<html>", index, "", upstreamtest.Fault{}, "", upstream.ErrCorrupt},
		{"not a web page as schema 1", "<html>", "application/vnd.docker.distribution.manifest.v1+json", "", upstreamtest.Fault{}, "", upstream.ErrCorrupt},
		{"not nothing", "", index, "", upstreamtest.Fault{}, "", upstream.ErrCorrupt},
		{"not schema 1", `{"schemaVersion":1,"fsLayers":[]}`, "application/vnd.docker.distribution.manifest.v1+json", "", upstreamtest.Fault{}, "", upstream.ErrInvalid},
		{"not schema 1 without a type", `{"schemaVersion":1,"fsLayers":[]}`, "application/json", "", upstreamtest.Fault{}, "", upstream.ErrInvalid},
		{"not by a limit", string(document), index, "", upstreamtest.Fault{Status: 429}, "", upstream.ErrRateLimited},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, upstreamtest.Config{}, nil)
			as := tt.as
			if as == "" {
				as = digest.FromString(tt.data)
			}
			f.ManifestAs(repo, as, tt.kind, []byte(tt.data), tag.Tag)
			f.Fault(tt.fault)
			got, err := f.client.Manifest(t.Context(), repo, tag)
			if !errors.Is(err, tt.err) {
				t.Fatalf("got error %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			if got.Descriptor.Digest != tt.want || got.Descriptor.MediaType != index || string(got.Bytes) != tt.data || got.Descriptor.Size != int64(len(tt.data)) {
				t.Errorf("got %+v %q, want %s", got.Descriptor, got.Bytes, tt.want)
			}
		})
	}
}

func TestSchema1IsRefusedWithASentence(t *testing.T) {
	f := start(t, upstreamtest.Config{}, nil)
	f.Manifest(repo, "application/json", []byte(`{"schemaVersion":1}`), "old")
	_, err := f.client.Manifest(t.Context(), repo, core.Reference{Tag: "old"})
	if err == nil || !strings.Contains(err.Error(), "Docker schema 1") {
		t.Errorf("got %v, want a sentence about schema 1", err)
	}
}

func TestBlobFromAnOffset(t *testing.T) {
	whole := int64(len(layer))
	for _, tt := range []struct {
		name   string
		offset int64
		fault  upstreamtest.Fault
		size   int64
		err    error
	}{
		{"of the beginning", 0, upstreamtest.Fault{}, whole, nil},
		{"of the beginning, without a length", 0, upstreamtest.Fault{NoLength: true}, -1, nil},
		{"of the middle", 5000, upstreamtest.Fault{}, whole, nil},
		{"of the middle, without a length", 5000, upstreamtest.Fault{NoLength: true}, whole, nil},
		{"of the end", whole, upstreamtest.Fault{}, whole, nil},
		{"where Range is ignored", 5000, upstreamtest.Fault{NoRange: true}, whole, nil},
		{"where Range is ignored, without a length", 5000, upstreamtest.Fault{NoRange: true, NoLength: true}, -1, nil},

		{"beyond the end", whole + 1, upstreamtest.Fault{}, 0, upstream.ErrCorrupt},
		{"beyond the end where Range is ignored", whole + 1, upstreamtest.Fault{NoRange: true}, 0, upstream.ErrCorrupt},
		{"answered from another offset", 5000, upstreamtest.Fault{Header: header("Content-Range", "bytes 0-8191/8192")}, 0, upstream.ErrCorrupt},
		{"answered from a byte before", 5000, upstreamtest.Fault{Header: header("Content-Range", "bytes 4999-8190/8191")}, 0, upstream.ErrCorrupt},
		{"answered with a part of the rest", 5000, upstreamtest.Fault{Header: header("Content-Range", "bytes 5000-8191/9999")}, 0, upstream.ErrCorrupt},
		{"answered without a Content-Range", 5000, upstreamtest.Fault{Header: header("Content-Range", "")}, 0, upstream.ErrCorrupt},
		{"cut off", 0, upstreamtest.Fault{CutOff: true, After: 100}, 0, upstream.ErrUnavailable},
		{"cut off, without a length", 0, upstreamtest.Fault{CutOff: true, After: 100, NoLength: true}, 0, upstream.ErrUnavailable},
		{"that is not there", 0, upstreamtest.Fault{Host: "registry", Path: "/blobs/", Status: 404}, 0, upstream.ErrNotFound},
		{"that the storage does not find", 0, upstreamtest.Fault{Status: 404}, 0, upstream.ErrUnavailable},
		{"whose signature has expired once", 0, upstreamtest.Fault{Status: 403, Times: 1}, whole, nil},
		{"whose signature has expired", 0, upstreamtest.Fault{Status: 403}, 0, upstream.ErrUnavailable},
		{"of a storage that fails", 0, upstreamtest.Fault{Host: "storage", Status: 503}, 0, upstream.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, upstreamtest.Config{Kind: upstreamtest.Hub}, nil)
			if tt.fault.Host == "" {
				tt.fault.Host = "storage"
			}
			f.Fault(tt.fault)
			got, size, err := readBlob(t.Context(), f.client, f.blob, tt.offset)
			if !errors.Is(err, tt.err) {
				t.Fatalf("got error %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			if size != tt.size || !bytes.Equal(got, layer[tt.offset:]) {
				t.Errorf("got %d bytes of %d, want %d of %d", len(got), size, whole-tt.offset, tt.size)
			}
		})
	}
}

func TestBlobIsResumedWhereItBroke(t *testing.T) {
	f := start(t, upstreamtest.Config{Kind: upstreamtest.Hub}, nil)
	f.Fault(upstreamtest.Fault{Host: "storage", CutOff: true, After: 4096, Times: 1})
	first, _, err := readBlob(t.Context(), f.client, f.blob, 0)
	if !errors.Is(err, upstream.ErrUnavailable) {
		t.Fatalf("got %v, want %v", err, upstream.ErrUnavailable)
	}
	rest, _, err := readBlob(t.Context(), f.client, f.blob, int64(len(first)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(append(first, rest...), layer) {
		t.Errorf("got other bytes than were sent")
	}
	at := "bytes=" + strconv.Itoa(len(first)) + "-"
	blob, stored := "registry GET /v2/library/nginx/blobs/"+string(f.blob), "storage GET /library/nginx@"+string(f.blob)
	// The signed URL is asked for again, and Authorization does not follow to it.
	f.saw(t, blob, "token GET /token", blob+" bearer", stored, blob+" bearer "+at, stored+" "+at)
}

func TestBlobConnectionsAreBounded(t *testing.T) {
	f := start(t, upstreamtest.Config{}, func(c *upstream.Config) { c.MaxConnections = 1 })
	body, _, err := f.client.Blob(t.Context(), repo, f.blob, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := f.client.Blob(ctx, repo, f.blob, 0, -1); !errors.Is(err, ctx.Err()) {
		t.Errorf("got %v for the second of one, want %v", err, ctx.Err())
	}
	// Short requests have connections of their own.
	if _, err := f.client.Head(t.Context(), repo, tag); err != nil {
		t.Error(err)
	}
	body.Close()
	body.Close() // gives back one place, not two
	if _, _, err := readBlob(t.Context(), f.client, f.blob, 0); err != nil {
		t.Error(err)
	}
}

func TestAttest(t *testing.T) {
	whole := int64(len(layer))
	for _, tt := range []struct {
		name  string
		fault upstreamtest.Fault
		size  int64
		err   error
	}{
		{"by HEAD", upstreamtest.Fault{}, whole, nil},
		{"by a byte where the signed URL is for GET only", upstreamtest.Fault{Host: "storage", Method: "HEAD", Status: 403}, whole, nil},
		{"by a byte where the storage does not find it by HEAD", upstreamtest.Fault{Host: "storage", Method: "HEAD", Status: 404}, whole, nil},
		{"by a byte where the upstream has no HEAD", upstreamtest.Fault{Host: "registry", Method: "HEAD", Status: 405}, whole, nil},
		{"by a byte where Range is ignored too", upstreamtest.Fault{Host: "storage", Method: "HEAD", Status: 403, NoRange: true}, whole, nil},
		{"by a byte where HEAD is denied", upstreamtest.Fault{Host: "registry", Method: "HEAD", Status: 403}, whole, nil},
		{"by a byte if HEAD finds nothing", upstreamtest.Fault{Host: "registry", Method: "HEAD", Status: 404}, whole, nil},
		{"of an empty blob, which has no byte", upstreamtest.Fault{Host: "storage", Status: 416, Header: header("Content-Range", "bytes */0")}, 0, nil},
		{"not of missing content", upstreamtest.Fault{Host: "registry", Status: 404}, 0, upstream.ErrNotFound},
		{"not of denied content", upstreamtest.Fault{Host: "registry", Status: 403}, 0, upstream.ErrDenied},
		{"not where the storage denies", upstreamtest.Fault{Host: "storage", Status: 403}, 0, upstream.ErrUnavailable},
		{"not where the storage does not find it", upstreamtest.Fault{Host: "storage", Status: 404}, 0, upstream.ErrUnavailable},
		{"not while the storage fails", upstreamtest.Fault{Host: "storage", Status: 500}, 0, upstream.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, upstreamtest.Config{Kind: upstreamtest.Hub}, nil)
			f.Fault(tt.fault)
			size, err := f.client.Attest(t.Context(), repo, f.blob, -1)
			if !errors.Is(err, tt.err) || err == nil && size != tt.size {
				t.Errorf("got %d, %v, want %d, %v", size, err, tt.size, tt.err)
			}
		})
	}
}

func TestTags(t *testing.T) {
	f := start(t, upstreamtest.Config{}, nil)
	const list = "/v2/library/nginx/tags/list"
	page := func(body, link string) upstreamtest.Fault {
		return upstreamtest.Fault{Path: "/tags/list", Times: 1, Status: 200, Body: body, Header: header("Link", link)}
	}
	for _, tt := range []struct {
		name  string
		pages []upstreamtest.Fault
		want  []string
		err   error
	}{
		{"of one page", nil, []string{"latest"}, nil},
		{"of two pages", []upstreamtest.Fault{
			page(`{"tags":["a","b"]}`, `<`+list+`?n=2&last=b>; rel="next"`), page(`{"tags":["c"]}`, ""),
		}, []string{"a", "b", "c"}, nil},
		{"of null", []upstreamtest.Fault{page(`{"tags":null}`, "")}, []string{}, nil},
		{"without invalid tags", []upstreamtest.Fault{page(`{"tags":["a","../b"]}`, "")}, []string{"a"}, nil},
		{"not where the link leads to another list", []upstreamtest.Fault{page(`{"tags":["a"]}`, `</v2/secret/tags/list?n=1>; rel="next"`), page(`{"tags":["a"]}`, `</v2/secret/tags/list?n=1>; rel="next"`)}, nil, upstream.ErrCorrupt},
		{"not where the link leads back", []upstreamtest.Fault{page(`{"tags":["a"]}`, `<`+list+`?n=1000>; rel="next"`), page(`{"tags":["a"]}`, `<`+list+`?n=1000>; rel="next"`)}, nil, upstream.ErrCorrupt},
		{"not of a web page", []upstreamtest.Fault{page(`<html>`, ""), page(`<html>`, "")}, nil, upstream.ErrCorrupt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, p := range tt.pages {
				f.Fault(p)
			}
			got, err := f.client.Tags(t.Context(), repo)
			if !errors.Is(err, tt.err) || !slices.Equal(got, tt.want) || err == nil && got == nil {
				t.Errorf("got %q, %v, want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestReferrers(t *testing.T) {
	d := digest.FromString("referrer")
	list := `{"schemaVersion":2,"mediaType":"` + index + `","manifests":[{"mediaType":"` + ocispec.MediaTypeImageManifest + `","digest":"` + string(d) + `","size":8}]}`
	subject := digest.FromBytes(document)
	asTag := "sha256-" + subject.Encoded()
	api := upstreamtest.Fault{Path: "/referrers/", Status: 200, Body: list, Header: header("Content-Type", index)}
	page := upstreamtest.Fault{Path: "/referrers/", Status: 200, Body: "<html>", Header: header("Content-Type", "text/html")}
	for _, tt := range []struct {
		name   string
		fault  *upstreamtest.Fault
		tagged bool
		want   int
		err    error
	}{
		{"from the API", &api, false, 1, nil},
		{"from the tag where there is no API", nil, true, 1, nil},
		{"from the tag where a web page answers", &page, true, 1, nil},
		{"from the tag where the API is refused with 400", &upstreamtest.Fault{Path: "/referrers/", Status: 400}, true, 1, nil},
		{"of none, where neither is", nil, false, 0, nil},
		{"not while the upstream fails", &upstreamtest.Fault{Path: "/referrers/", Status: 503}, true, 0, upstream.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, upstreamtest.Config{}, nil)
			if tt.fault != nil {
				f.Fault(*tt.fault)
			}
			if tt.tagged {
				f.Manifest(repo, index, []byte(list), asTag)
			}
			got, err := f.client.Referrers(t.Context(), repo, subject)
			if !errors.Is(err, tt.err) || len(got) != tt.want || err == nil && got == nil {
				t.Fatalf("got %v, %v, want %d, %v", got, err, tt.want, tt.err)
			}
			if tt.want == 1 && got[0].Digest != d {
				t.Errorf("got %s, want %s", got[0].Digest, d)
			}
		})
	}
}

func TestSlowReaderIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, upstreamtest.Config{Network: upstreamtest.NewNetwork()}, nil)
		body, _, err := f.client.Blob(t.Context(), repo, f.blob, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		if _, err := io.ReadFull(body, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * upstream.DefaultStallTimeout)
		if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, layer[1:]) {
			t.Errorf("got %d bytes, %v, want all", len(got), err)
		}
	})
}

// A mirror passes on bytes that have the digest, even if it cannot read parts of them,
// with the type of their shape if the upstream's type is not one of manifests.
func TestManifestThatWeCannotReadIsPassedOn(t *testing.T) {
	const image, thing = ocispec.MediaTypeImageManifest, "application/vnd.example.thing+json"
	blob := `{"mediaType":"a/b","digest":"` + string(digest.FromString("x")) + `","size":1}`
	whole := func(more string) string {
		return `{"schemaVersion":2,"config":` + blob + `,"layers":[` + blob + `]` + more + `}`
	}
	platform := `{"schemaVersion":2,"manifests":[{"mediaType":"` + image + `","digest":"` + string(digest.FromString("x")) + `","size":1,"platform":"linux/amd64"}]}`
	for _, tt := range []struct {
		name, kind, data string
		want             string // the type; empty: it is refused
		unvouched        bool   // no digest was promised
	}{
		{"an annotation that is a number", image, whole(`,"annotations":{"a":1}`), image, false},
		{"an annotation that is a number, without a digest", image, whole(`,"annotations":{"a":1}`), image, true},
		{"annotations that are a list", image, whole(`,"annotations":[]`), image, false},
		{"a platform that is a text", index, platform, index, false},
		{"a size that is a fraction", image, strings.Replace(whole(""), `"size":1`, `"size":1.0`, 1), image, false},
		{"a size that is negative", image, strings.Replace(whole(""), `"size":1`, `"size":-1`, 1), image, false},
		{"a digest that is not one", image, strings.Replace(whole(""), "sha256:", "sha256:../", 1), image, false},
		{"data without padding", image, whole(`,"subject":{"mediaType":"a/b","digest":"` + string(digest.FromString("y")) + `","size":1,"data":"e30"}`), image, false},
		{"a subject that is a text", image, whole(`,"subject":"x"`), image, false},
		{"a config that is a text", thing, `{"mediaType":"` + thing + `","config":"x"}`, thing, false},
		{"a schemaVersion that is a text", image, strings.Replace(whole(""), `2`, `"2"`, 1), image, false},
		{"more than 10,000 layers", image, `{"config":` + blob + `,"layers":[` + strings.Repeat(blob+",", 10_001) + blob + `]}`, image, false},

		{"an image as HTML", "text/html", whole(""), image, false},
		{"an image as SVG", "image/svg+xml", whole(""), image, false},
		{"an index without a type", "", `{"manifests":[]}`, index, true},
		{"an image as an index", index, whole(""), image, false},
		{"an index as an image", image, `{"manifests":[]}`, index, false},
		{"an image by a type in capitals", strings.ToUpper(image), whole(""), image, false},
		{"something as HTML", "text/html", `{"x":"<script>"}`, core.MediaTypeUnknown, false},
		{"an artifact of another kind", thing, `{"mediaType":"` + thing + `"}`, thing, true},

		{"an object without a digest", "application/json", `{"error":"please log in"}`, "", true},
		{"an empty object without a digest", image, `{}`, "", true},
		{"both kinds' members", image, whole(`,"manifests":[]`), "", false},
		{"both kinds' members, as an index", index, whole(`,"manifests":[]`), "", false},
		{"a member twice", image, whole(`,"layers":[]`), "", false},
		{"a member in another case as well", image, whole(`,"Layers":[]`), "", false},
		{"a member of a layer twice", image, strings.Replace(whole(""), `"size":1`, `"size":1,"size":2`, 1), "", false},
		{"a second document", image, whole("") + whole(""), "", false},
		{"a list", image, `[]`, "", false},
		{"nothing", image, ``, "", false},
		{"a page", "text/html", `<html>`, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, upstreamtest.Config{}, nil)
			d := f.Manifest(repo, tt.kind, []byte(tt.data), tag.Tag)
			f.Fault(upstreamtest.Fault{NoDigest: tt.unvouched})
			got, err := f.client.Manifest(t.Context(), repo, tag)
			if tt.want == "" {
				if !errors.Is(err, upstream.ErrCorrupt) {
					t.Errorf("got %v, want %v", err, upstream.ErrCorrupt)
				}
				return
			}
			if err != nil || got.Descriptor.Digest != d || got.Descriptor.MediaType != tt.want || string(got.Bytes) != tt.data {
				t.Errorf("got %+v, %v, want %s of %s", got.Descriptor, err, d, tt.want)
			}
		})
	}
}
