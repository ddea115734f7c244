package wire

import (
	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// Kind is what a request asks for, named by the endpoints of spec.md ("Endpoints").
type Kind int

// The endpoints. The zero Kind is not one of them: requests that Parse refused have
// it.
const (
	// Ping asks whether this is a registry: GET and HEAD /v2/ (end-1).
	Ping Kind = iota + 1
	// Blob reads a blob: GET and HEAD (end-2).
	Blob
	// Manifest reads a manifest by tag or digest: GET and HEAD (end-3).
	Manifest
	// StartUpload begins an upload (end-4a, end-4c), is one (end-4b, when Digest
	// is set), or mounts a blob instead (end-11, when Mount is set).
	StartUpload
	// PatchUpload appends a chunk (end-5).
	PatchUpload
	// PutUpload appends the last chunk, if there is one, and ends the upload (end-6).
	PutUpload
	// PutManifest pushes a manifest (end-7a, and end-7b when Tags is set).
	PutManifest
	// ListTags lists a repository's tags: GET and HEAD (end-8a, end-8b).
	ListTags
	// DeleteManifest deletes a tag, or a manifest by digest (end-9).
	DeleteManifest
	// DeleteBlob deletes a blob (end-10).
	DeleteBlob
	// ListReferrers lists the manifests that refer to one: GET and HEAD (end-12a,
	// end-12b).
	ListReferrers
	// UploadStatus returns how much of an upload is held: GET and HEAD (end-13).
	UploadStatus
	// CancelUpload drops an upload (end-14).
	CancelUpload
	// Catalog lists the repositories: GET and HEAD /v2/_catalog. The spec reserves
	// the path, Docker's API defines it.
	Catalog
)

var kindNames = [...]string{
	"none", "ping", "blob", "manifest", "start_upload", "patch_upload", "put_upload",
	"put_manifest", "list_tags", "delete_manifest", "delete_blob", "list_referrers",
	"upload_status", "cancel_upload", "catalog",
}

// String returns the kind as a label for logs and metrics, in snake case.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		k = 0
	}
	return kindNames[k]
}

// Writes reports whether the request changes the repository, or belongs to a push
// as UploadStatus does.
func (k Kind) Writes() bool {
	switch k {
	case StartUpload, PatchUpload, PutUpload, PutManifest, DeleteManifest, DeleteBlob, UploadStatus, CancelUpload:
		return true
	}
	return false
}

// Request is a request for one endpoint, validated: every name, tag and digest in
// it is well formed. Fields that an endpoint does not have are zero.
type Request struct {
	Kind Kind
	// Name is the repository as the client wrote it; answers and the URLs in them
	// use it. Empty for Ping and Catalog.
	Name string
	// Repo is the repository that the Registry is asked for. Parse makes it equal
	// to Name; namespace.Resolve replaces it with the canonical name.
	Repo string
	// Ref is the tag or digest of Manifest, PutManifest and DeleteManifest.
	Ref core.Reference
	// Digest is the digest of Blob, DeleteBlob and ListReferrers, and `digest` of
	// PutUpload (always) and StartUpload (if the client sent it).
	Digest digest.Digest
	// Mount is `mount` of StartUpload: the blob to mount.
	Mount digest.Digest
	// From is `from` beside Mount: the repository that holds the blob, or empty for
	// any. Like Repo, it is as the client wrote it until namespace.Resolve replaces
	// it.
	From string
	// DigestAlgorithm is the algorithm that hashes an upload's content: that of
	// Digest or Mount, else `digest-algorithm`, else sha256. Set for StartUpload.
	DigestAlgorithm digest.Algorithm
	// UploadID is 1 to 64 characters of [a-z0-9-].
	UploadID string
	// Tags are the `tag` parameters of PutManifest without repetitions, at most
	// maxTags of them.
	Tags []string
	// N is `n` of the lists, or -1 if the client did not send it.
	N int
	// Last is `last` of the lists: a tag, a repository or a digest, or empty. In the
	// catalog it may be a cursor, which only the registry that made it can read.
	Last string
	// ArtifactType is the filter of ListReferrers, or empty.
	ArtifactType string
	// NS is `ns`: the registry that the client means (spec.md, "Registry
	// Proxying"), as it was written: host, or host and port. Empty if not sent.
	NS string
}
