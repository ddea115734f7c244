package pages

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/artifacts"
	"github.com/eblume/caddy-registry/core"
)

// choice is an order or a part of a list that a visitor can choose.
type choice struct {
	Value, Name string
	Chosen      bool
	Address     string
}

// repositoryOrders are the orders that a list has, the default first.
var repositoryOrders = []choice{{Value: "name", Name: "Name"}, {Value: "push", Name: "Newest push"}, {Value: "pull", Name: "Newest pull"}, {Value: "size", Name: "Size"}}

// choose returns the choices with the one that was asked for, or else the first.
func choose(all []choice, value string) (string, []choice) {
	all = slices.Clone(all)
	i := max(0, slices.IndexFunc(all, func(c choice) bool { return c.Value == value }))
	all[i].Chosen = true
	return all[i].Value, all
}

// listed is a repository in a list.
type listed struct {
	core.RepositoryRow
	Mirror string
	Kind   string // of the newest image, if it is not an ordinary one
	// Group begins here, if it is not empty.
	Group, GroupAddress string
}

type listPage struct {
	frame
	In     string
	Kind   string // that is listed; empty: all
	Kinds  []choice
	Parts  []choice
	Orders []choice
	List   part[listed]
	Tag    string // of the query name:tag; rows have it
	Found  []found
	// Digest: the query is a digest's beginning, and Found its answer.
	Digest bool
	// Problem with the query.
	Problem string
	// First is the address of the first page, if this is another one, and Next that of the next.
	First, Next string
}

// maxQuery bounds a query in bytes.
const maxQuery = 300

func (s *Site) list(w http.ResponseWriter, r *http.Request) {
	ctx, values := r.Context(), r.URL.Query()
	p := listPage{frame: s.frame(ctx, "Images"), In: values.Get("in")}
	p.Query = strings.TrimSpace(values.Get("q"))
	p.Query = strings.ToValidUTF8(p.Query[:min(maxQuery, len(p.Query))], "")
	if _, err := core.ParseName(p.In); err != nil {
		p.In = ""
	}
	after, err := s.place(values.Get("after"))
	if err != nil {
		s.broken(w, r, reference{}, err)
		return
	}
	order, orders := choose(repositoryOrders, values.Get("order"))
	p.Orders = orders
	p.Kind, p.Kinds = choose(listedKinds, values.Get("kind"))
	query := s.understand(p.Query)
	p.Digest, p.Tag = query.digest != "", query.tag
	address := func(in, after string) string { return listAddress(p.Query, in, p.Kind, order, after) }
	p.Parts = append(p.Parts, choice{Name: "All", Chosen: p.In == "", Address: address("", "")})
	for _, mirror := range s.Mirrors {
		p.Parts = append(p.Parts, choice{Name: mirror, Chosen: p.In == mirror, Address: address(mirror, "")})
	}
	if p.In != "" && !slices.Contains(s.Mirrors, p.In) {
		p.Parts = append(p.Parts, choice{Name: p.In, Chosen: true, Address: address(p.In, "")})
	}
	next := ""
	if p.Digest {
		p.Title = "Content " + p.Query
		next, err = s.contents(ctx, &p, query.digest, after)
		if errors.Is(err, core.ErrDigestInvalid) {
			p.Problem, err = "A search for a digest needs its algorithm and at least 6 digits, as sha256:ab12cd.", nil
		}
	} else {
		grouped := p.Query == "" && order == string(core.RepositoriesByName) && p.In == "" && p.Kind == ""
		err = s.repositories(ctx, &p, query, core.RepositoryOrder(order), after, grouped)
		next = p.List.Next
	}
	if err != nil {
		s.broken(w, r, reference{}, err)
		return
	}
	if next != "" {
		p.Next = address(p.In, next)
	}
	if after != "" {
		p.First = address(p.In, "")
	}
	s.render(w, r, http.StatusOK, "list", p, new(bytes.Buffer))
}

// listAddress is the address of a list, with what is not the default.
func listAddress(query, in, kind, order, after string) string {
	values := url.Values{}
	for name, value := range map[string]string{"q": query, "in": in, "kind": kind, "order": order, "after": after} {
		if value != "" && (name != "order" || value != repositoryOrders[0].Value) {
			values.Set(name, value)
		}
	}
	if len(values) == 0 {
		return "/images"
	}
	return "/images?" + values.Encode()
}

// kinds of images, by what their manifest says.
const (
	kindImage    = "Image"
	kindIndex    = "Index"
	kindChart    = "Helm chart"
	kindWasm     = artifacts.Wasm
	kindArtifact = "Artifact"
)

// listedKinds are the kinds by which a list can be narrowed, by what the newest image is.
var listedKinds = []choice{{Name: "Everything"}, {Value: "image", Name: "Images"}, {Value: "chart", Name: "Helm charts"}, {Value: "artifact", Name: "Other artifacts"}}

// ofKind reports whether a repository whose newest image says so is of a kind of listedKinds.
func ofKind(kind string, says core.Says) bool {
	switch kindOfTypes(says.MediaType, says.ArtifactType) {
	case kindImage, kindIndex:
		return kind == "image"
	case kindChart:
		return kind == "chart"
	case kindArtifact, kindWasm:
		return kind == "artifact"
	}
	return false
}

// kindOf is what a manifest is, as far as its facts tell.
func kindOf(row core.ImageRow) string {
	if !row.Described {
		return ""
	}
	kind := kindOfTypes(row.MediaType, row.ArtifactType)
	if kind == kindArtifact && len(row.Platforms) > 0 {
		return kindImage
	}
	return kind
}

// kindOfTypes is what a manifest of these types is. Empty: they are not known.
func kindOfTypes(mediaType, artifactType string) string {
	switch {
	case mediaType == "":
		return ""
	case indexType(mediaType):
		return kindIndex
	case artifactType == ocispec.MediaTypeImageConfig, artifactType == "application/vnd.docker.container.image.v1+json":
		return kindImage
	case artifactType == "application/vnd.cncf.helm.config.v1+json":
		return kindChart
	case artifacts.IsWasm(artifactType):
		return kindWasm
	}
	return kindArtifact
}

func isIndex(row core.ImageRow) bool { return indexType(row.MediaType) }

func indexType(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == core.MediaTypeDockerManifestList
}

// ofPlatforms are the images that an index has, without statements about them.
func ofPlatforms(row core.ImageRow) (some []core.PlatformRow) {
	for _, p := range row.Platforms {
		if p.Attests == "" && p.Platform != "" {
			some = append(some, p)
		}
	}
	return some
}

// preferred is the platform that a page shows unless asked for another: linux/amd64, or the first.
func preferred(all []core.PlatformRow) (chosen core.PlatformRow) {
	for i, p := range all {
		if i == 0 || p.Platform == "linux/amd64" {
			chosen = p
		}
	}
	return chosen
}

// platformNames are the platforms of an image as a list shows them: without the system where it is
// Linux.
func platformNames(row core.ImageRow) string {
	var names []string
	for _, p := range ofPlatforms(row) {
		name := strings.TrimPrefix(p.Platform, "linux/")
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > maxNamed {
		return strings.Join(names[:maxNamed], ", ") + " and " + count(int64(len(names)-maxNamed)) + " more"
	}
	return strings.Join(names, ", ")
}

// maxNamed bounds the platforms that a row names.
const maxNamed = 5

// found is content with the digest that was searched for.
type found struct {
	core.ContentRow
	Kind string
	// Users are images that name it, at most 3.
	Users []digest.Digest
}
