package wire

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/eblume/caddy-registry/core"
)

// route is a form of path, and the meaning of each method there.
type route struct {
	// named: the path begins with a repository.
	named bool
	kinds []methodKind
}

type methodKind struct {
	method string
	kind   Kind
}

func reads(kind Kind) []methodKind {
	return []methodKind{{http.MethodGet, kind}, {http.MethodHead, kind}}
}

var (
	pingRoute      = &route{false, reads(Ping)}
	catalogRoute   = &route{false, reads(Catalog)}
	tagsRoute      = &route{true, reads(ListTags)}
	referrersRoute = &route{true, reads(ListReferrers)}
	manifestRoute  = &route{true, append(reads(Manifest),
		methodKind{http.MethodPut, PutManifest}, methodKind{http.MethodDelete, DeleteManifest})}
	blobRoute    = &route{true, append(reads(Blob), methodKind{http.MethodDelete, DeleteBlob})}
	uploadsRoute = &route{true, []methodKind{{http.MethodPost, StartUpload}}}
	uploadRoute  = &route{true, append(reads(UploadStatus),
		methodKind{http.MethodPatch, PatchUpload},
		methodKind{http.MethodPut, PutUpload},
		methodKind{http.MethodDelete, CancelUpload})}
)

// kind finds the endpoint of a method. Errors: *methodError.
func (rt *route) kind(method string) (Kind, error) {
	for _, mk := range rt.kinds {
		if mk.method == method {
			return mk.kind, nil
		}
	}
	allow := make([]string, len(rt.kinds))
	for i, mk := range rt.kinds {
		allow[i] = mk.method
	}
	return 0, &methodError{strings.Join(allow, ", ")}
}

// methodError is the error for a method that the endpoint does not have; it lists
// those that it has.
type methodError struct{ allow string }

func (e *methodError) Error() string {
	return "this endpoint has only the methods " + e.allow
}

func (e *methodError) Unwrap() error { return core.ErrUnsupported }

// split finds the route of an escaped path, the repository's name, and the last
// element where the route has one.
//
// It reads from the end, because a repository may have components that are called
// `blobs`, `manifests` or `tags`, and only one element follows the endpoint's own
// words.
func split(path string) (rt *route, name, last string, err error) {
	if path == "/v2" || path == "/v2/" {
		return pingRoute, "", "", nil
	}
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return nil, "", "", fmt.Errorf("%w: paths begin with /v2/", errRoute)
	}
	if rest == "_catalog" {
		return catalogRoute, "", "", nil
	}
	if name, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		return tagsRoute, name, "", nil
	}
	// Some clients omit the last slash.
	if name, ok := strings.CutSuffix(strings.TrimSuffix(rest, "/"), "/blobs/uploads"); ok {
		return uploadsRoute, name, "", nil
	}
	rest, last, _ = cutLast(rest)
	name, word, ok := cutLast(rest)
	if !ok || last == "" {
		return nil, "", "", errRoute
	}
	switch word {
	case "manifests":
		return manifestRoute, name, last, nil
	case "blobs":
		return blobRoute, name, last, nil
	case "referrers":
		return referrersRoute, name, last, nil
	case "uploads":
		if name, ok := strings.CutSuffix(name, "/blobs"); ok {
			return uploadRoute, name, last, nil
		}
	}
	return nil, "", "", errRoute
}

// cutLast divides s at its last slash.
func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
