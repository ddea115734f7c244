package api

import (
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

const (
	imagesPath   = "/api/images"
	statePath    = "/api/state"
	mirrorsPath  = "/api/mirrors"
	activityPath = "/api/activity"
	documentPath = "/api/openapi.json"
	// StoragePath is there for administrators alone.
	StoragePath = "/api/storage"
	// separator is between a name and a word.
	separator = "/-/"
	// maxQuery bounds a query, in bytes: the longest cursor has some 700.
	maxQuery = 4 << 10
)

// Serves reports whether a path is one of this API.
func Serves(path string) bool {
	return byPath[path] != nil || strings.HasPrefix(path, imagesPath+"/") || strings.HasPrefix(path, mirrorsPath+"/")
}

// route is an address, its parameters, and what answers it.
type route struct {
	path   string // as openapi.json has it
	query  []string
	get    func(*exchange) (any, error)
	delete func(*exchange) (any, error)
	// deleteQuery are the parameters of delete.
	deleteQuery []string
}

var routes = []route{
	{imagesPath, []string{"q", "kind", "in", "order", "after", "n"}, (*exchange).search, nil, nil},
	{imagesPath + "/{repository}", nil, (*exchange).repository, nil, nil},
	{imagesPath + "/{repository}/-/tags", []string{"order", "tag", "after", "n"}, (*exchange).tags, nil, nil},
	{imagesPath + "/{repository}/-/upstream", []string{"tag", "after", "n"}, (*exchange).offered, nil, nil},
	{imagesPath + "/{repository}/-/images", []string{"after", "n"}, (*exchange).images, nil, nil},
	{imagesPath + "/{repository}:{tag}", nil, (*exchange).image, (*exchange).deleteTag, nil},
	{imagesPath + "/{repository}:{tag}/-/history", nil, (*exchange).history, nil, nil},
	{imagesPath + "/{repository}:{tag}/-/deletion", nil, (*exchange).planned, nil, nil},
	{imagesPath + "/{repository}@{digest}", nil, (*exchange).image, (*exchange).deleteImage, []string{planParameter}},
	{imagesPath + "/{repository}@{digest}/-/users", []string{"after", "n"}, (*exchange).users, nil, nil},
	{imagesPath + "/{repository}@{digest}/-/deletion", nil, (*exchange).planned, nil, nil},
	{mirrorsPath, nil, (*exchange).mirrors, nil, nil},
	{mirrorsPath + "/{mirror}", nil, (*exchange).oneMirror, nil, nil},
	{activityPath, []string{"repo", "user", "event", "after", "n"}, (*exchange).activity, nil, nil},
	{StoragePath, nil, (*exchange).storage, nil, nil},
	{statePath, nil, (*exchange).state, nil, nil},
	{documentPath, nil, (*exchange).openAPI, nil, nil},
}

var byPath = func() map[string]*route {
	found := map[string]*route{}
	for i := range routes {
		found[routes[i].path] = &routes[i]
	}
	return found
}()

// target is what an address is about.
type target struct {
	repo   string
	mirror string
	tag    string
	digest digest.Digest
}

// parse reads a path and finds its route. Errors: errRoute, core.ErrNameInvalid,
// core.ErrTagInvalid, core.ErrDigestInvalid.
func (t *target) parse(path string) (*route, error) {
	if name, ok := strings.CutPrefix(path, mirrorsPath+"/"); ok {
		t.mirror = name
		return byPath[mirrorsPath+"/{mirror}"], nil
	}
	rest, below := strings.CutPrefix(path, imagesPath+"/")
	if !below {
		if found := byPath[path]; found != nil {
			return found, nil
		}
		return nil, errRoute
	}
	name, word, worded := strings.Cut(rest, separator)
	pattern := imagesPath + "/{repository}"
	name, d, byDigest := strings.Cut(name, "@")
	tag := ""
	if colon := strings.LastIndexByte(name, ':'); byDigest {
		pattern += "@{digest}"
	} else if colon > strings.LastIndexByte(name, '/') {
		name, tag = name[:colon], name[colon+1:]
		pattern += ":{tag}"
	}
	if worded {
		pattern += separator + word
	}
	found := byPath[pattern]
	if found == nil {
		return nil, errRoute
	}
	var err error
	if t.repo, err = core.ParseName(name); err != nil {
		return nil, err
	}
	switch {
	case byDigest:
		t.digest, err = core.ParseDigest(d)
	case strings.Contains(pattern, ":{tag}"):
		t.tag, err = core.ParseTag(tag)
	}
	return found, err
}

// queryOf reads a query. Errors: wire.ErrQuery.
func queryOf(raw string) (url.Values, error) {
	if len(raw) > maxQuery {
		return nil, invalid("longer than %d bytes", maxQuery)
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, invalid("it cannot be read; escape the values")
	}
	return values, nil
}
