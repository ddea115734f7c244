package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// maxReferrersPage bounds the descriptors of one page in bytes, so that the page is a
// manifest that every client accepts. Half of what a manifest may have: clients that
// keep to 4 MB, not MiB, and one last large descriptor fit.
const maxReferrersPage = core.MaxManifestSize / 2

// listReferrers answers end-12a and end-12b.
func (e *exchange) listReferrers() error {
	seq := e.reg.Referrers(e.context(), e.req.Repo, e.req.Digest, e.req.ArtifactType, digest.Digest(e.req.Last))
	limit := e.limit()
	manifests := []json.RawMessage{}
	var last digest.Digest
	var size int
	var more bool
	for desc, err := range seq {
		if pause, paused := errors.AsType[*core.Pause](err); paused {
			// The skipped referrers are in a repository that the caller may read.
			last, more = digest.Digest(pause.After), limit > 0
			break
		}
		if err != nil {
			return fmt.Errorf("list referrers of %s: %w", e.req.Digest, err)
		}
		one, err := json.Marshal(desc)
		if err != nil {
			return fmt.Errorf("encode referrer %s: %w", desc.Digest, err)
		}
		// The first descriptor is added however large it is: each page must make
		// progress.
		size += len(one)
		if len(manifests) == limit || len(manifests) > 0 && size > maxReferrersPage {
			more = len(manifests) > 0
			break
		}
		manifests, last = append(manifests, one), desc.Digest
	}
	body, err := json.Marshal(struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Manifests     []json.RawMessage `json:"manifests"`
	}{2, ocispec.MediaTypeImageIndex, manifests})
	if err != nil {
		return fmt.Errorf("encode referrers of %s: %w", e.req.Digest, err)
	}
	e.set("Cache-Control", e.cacheControl(false))
	query := url.Values{}
	if e.req.ArtifactType != "" {
		e.set("Oci-Filters-Applied", "artifactType")
		query.Set("artifactType", e.req.ArtifactType)
	}
	if more {
		if e.req.N >= 0 {
			query.Set("n", strconv.Itoa(limit))
		}
		e.set("Link", e.next("referrers/"+string(e.req.Digest), string(last), query))
	}
	e.send(http.StatusOK, ocispec.MediaTypeImageIndex, body)
	return nil
}
