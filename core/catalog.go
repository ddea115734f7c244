package core

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Catalog shows what a registry holds: to its pages, to the JSON API and to commands. It answers
// from a projection alone. It reads no content, asks no upstream, counts no pull and restarts no
// grace, so looking at an image never keeps it, and a crawler costs no pull limit.
//
// A sequence begins behind after, which is the At of an earlier row of a list in the same order,
// or empty. It ends at the first error. If rows are left out because the caller may not see
// them, it may end in a *Pause (see Filter).
//
// Until CatalogState says that everything is described, rows may have Described unset, and sums
// count what is described.
type Catalog interface {
	// RepositoryRows yields the repositories that hold a manifest: all, or those whose first
	// component is in.
	RepositoryRows(ctx context.Context, in string, order RepositoryOrder, after string) iter.Seq2[RepositoryRow, error]
	// RepositoryRow describes a repository. Errors: ErrNameUnknown.
	RepositoryRow(ctx context.Context, repo string) (RepositoryRow, error)
	// TagRows yields the tags of a repository. Errors: ErrNameUnknown.
	TagRows(ctx context.Context, repo string, order TagOrder, after string) iter.Seq2[TagRow, error]
	// TagRow describes a tag. Errors: ErrNameUnknown, ErrManifestUnknown.
	TagRow(ctx context.Context, repo, tag string) (TagRow, error)
	// ImageRows yields the manifests of a repository, the newest push first. Errors:
	// ErrNameUnknown.
	ImageRows(ctx context.Context, repo, after string) iter.Seq2[ImageRow, error]
	// ImageRow describes a manifest. Errors: ErrNameUnknown, ErrManifestUnknown.
	ImageRow(ctx context.Context, repo string, d digest.Digest) (ImageRow, error)
	// ImageNames describes the content that a manifest names, in order and each once, at most
	// MaxNamed, the subject among it. Errors: as ImageRow.
	ImageNames(ctx context.Context, repo string, d digest.Digest) ([]NamedRow, error)
	// DigestTags yields the tags of a repository that name d, in byte order.
	DigestTags(ctx context.Context, repo string, d digest.Digest, after string) iter.Seq2[string, error]
	// UserRows yields the manifests of a repository that name d, as far as ImageNames does. See Unlisted.
	UserRows(ctx context.Context, repo string, d digest.Digest, after string) iter.Seq2[ContentRow, error]
	// ContentRows yields the content whose digest begins with prefix, as "sha256:ab12cd", and who
	// holds it, in the order of digests. Errors: ErrDigestInvalid for fewer than MinDigits.
	ContentRows(ctx context.Context, prefix, after string) iter.Seq2[ContentRow, error]
	// CatalogState says how much of what is held is described.
	CatalogState(ctx context.Context) (CatalogState, error)
}

// MinDigits is how many hexadecimal digits a search for a digest needs, so that it reads few rows.
const MinDigits = 6

// MaxNamed bounds the content that is described as named by one manifest. Images name some
// dozen, and the largest artifacts in use a few hundred.
const MaxNamed = 2000

// Unlisted stands, in UserRows, for all content that a manifest names beyond MaxNamed: UserRows yields
// no such manifest for that content, and all of them for Unlisted. No content has this digest; a
// manifest that names it counts as one of them.
const Unlisted digest.Digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// RepositoryOrder is an order of repositories.
type RepositoryOrder string

// The orders of repositories: names in byte order, the others with the largest or newest first.
const (
	RepositoriesByName RepositoryOrder = "name"
	RepositoriesByPush RepositoryOrder = "push"
	RepositoriesByPull RepositoryOrder = "pull"
	RepositoriesBySize RepositoryOrder = "size"
)

// TagOrder is an order of tags.
type TagOrder string

// The orders of tags: by version as VersionKey has it with the highest first, by the time of
// their last move or of the last pull with the newest first, by name in byte order.
const (
	TagsByVersion TagOrder = "version"
	TagsByPush    TagOrder = "push"
	TagsByPull    TagOrder = "pull"
	TagsByName    TagOrder = "name"
)

// RepositoryRow is what a list shows of a repository.
type RepositoryRow struct {
	// At is the row's place in its list: opaque, and in byte order as the list is.
	At   string
	Name string
	// Tags and Manifests count what the repository holds.
	Tags, Manifests int64
	// Bytes is the size of the content that the repository holds, each once. OnlyHere is the
	// part that no other repository of its tree holds: what the end of the repository frees. It
	// is -1 for callers who may not read all of them, or must not learn what an upstream hides.
	Bytes, OnlyHere int64
	// Newest is the tag that moved last, and what it names; empty without tags.
	Newest       string
	NewestDigest digest.Digest
	// Says is what the image of the newest tag says of itself. Empty: it is not held, or not
	// described yet.
	Says Says
	// Pushed is when a manifest was pushed or a tag moved last. Zero: not known.
	Pushed time.Time
	// Pulls are those of the manifests that it holds.
	Pulls PullCount
	// Days are the days with pulls, whatever was pulled, the oldest first, at most MaxPullDays.
	Days []DayPulls
}

// MaxPullDays is how many days of pulls a row has.
const MaxPullDays = 30

// DayPulls counts the pulls of a day.
type DayPulls struct {
	Day string // in UTC, as time.DateOnly
	N   int64
}

// Says is what an image says that it is, in few words: its types as in ImageFacts, and annotations,
// each of at most MaxAnnotation bytes.
type Says struct {
	MediaType    string `json:"type,omitempty"`
	ArtifactType string `json:"artifact,omitempty"`
	Title        string `json:"title,omitempty"`
	Description  string `json:"description,omitempty"`
	Source       string `json:"source,omitempty"`
}

// Says returns the facts in few words.
func (f ImageFacts) Says() Says {
	return Says{
		f.MediaType, f.ArtifactType, f.Annotations[ocispec.AnnotationTitle],
		f.Annotations[ocispec.AnnotationDescription], f.Annotations[ocispec.AnnotationSource],
	}
}

// TagState is what a tag named, since when, and who set it. By is empty if that is unknown, and
// for anonymous callers.
type TagState struct {
	Digest digest.Digest `json:"digest"`
	Since  time.Time     `json:"since"`
	By     string        `json:"by,omitempty"`
	// Seen is when a mirror last saw the tag name this digest, before it named another. Zero for
	// what the tag names now, and for pushed tags.
	Seen time.Time `json:"seen,omitzero"`
}

// TagRow is what a list shows of a tag.
type TagRow struct {
	At   string
	Name string
	TagState
	// Before is what the tag named before, the newest first, at most 20.
	Before []TagState
	// Aliases are the repository's other tags of the same digest, in byte order, at most
	// MaxAliases. MoreAliases: there are more.
	Aliases     []string
	MoreAliases bool
	// Image is what it names. Its Digest is empty if the repository does not hold it.
	Image ImageRow
	// Pulls are the pulls by this tag.
	Pulls PullCount
}

// PullCount is how often something was pulled, when last, and by whom then.
type PullCount struct {
	N    int64     `json:"n"`
	Last time.Time `json:"last"`
	// By is the user of the last pull. It is empty if that is unknown, for anonymous callers, and in the
	// sum of a repository.
	By string `json:"by,omitempty"`
}

// Later returns the last pull of c and other, with the count of c. Of two at the same time it has the
// greater name, so that the order in which they are compared does not matter.
func (c PullCount) Later(other PullCount) PullCount {
	switch order := other.Last.Compare(c.Last); {
	case order > 0, order == 0 && other.By > c.By:
		c.Last, c.By = other.Last, other.By
	}
	return c
}

// MaxAliases bounds the aliases in a row.
const MaxAliases = 10

// ImageRow is what a list shows of a manifest.
type ImageRow struct {
	At     string
	Digest digest.Digest
	// Tags are the tags that name it, as TagRow.Aliases.
	Tags     []string
	MoreTags bool
	// Described: the rest is known.
	Described bool
	ImageFacts
	Pulls PullCount
}

// MaxPlatforms bounds the platforms in a row. The largest indexes in use have some thirty.
const MaxPlatforms = 64

// MaxAnnotation bounds the value of an annotation in a row, in bytes.
const MaxAnnotation = 300

// ShownAnnotations are the annotations that rows have (image-spec, annotations.md, "Pre-Defined
// Annotation Keys").
var ShownAnnotations = []string{
	ocispec.AnnotationTitle, ocispec.AnnotationDescription, ocispec.AnnotationVersion, ocispec.AnnotationSource,
	ocispec.AnnotationRevision, ocispec.AnnotationLicenses, ocispec.AnnotationVendor, ocispec.AnnotationBaseImageName,
}

// ImageFacts is what a manifest and its config say of themselves.
type ImageFacts struct {
	MediaType    string `json:"type"`
	ArtifactType string `json:"artifact,omitempty"`
	// Size is that of the manifest in bytes, and Content that of what a client downloads with
	// it: its config and layers, or blobs, each once. It is 0 for an index.
	Size    int64 `json:"size"`
	Content int64 `json:"content,omitempty"`
	Layers  int   `json:"layers,omitempty"`
	// Config and Subject are empty if there is none.
	Config  digest.Digest `json:"config,omitempty"`
	Subject digest.Digest `json:"subject,omitempty"`
	// Platforms are those of an index, at most MaxPlatforms, or the one of the config.
	Platforms []PlatformRow `json:"platforms,omitempty"`
	// Created is what the config says. Zero: it says nothing.
	Created time.Time `json:"created,omitzero"`
	// Annotations are those that lists show: ShownAnnotations, each at most MaxAnnotation
	// bytes.
	Annotations map[string]string `json:"annotations,omitempty"`
	// Pushed is when the repository got it, and By who pushed it, as in TagState.
	Pushed time.Time `json:"pushed,omitzero"`
	By     string    `json:"by,omitempty"`
}

// PlatformRow is an image for one platform, as an index names it or as its config says.
type PlatformRow struct {
	// Platform is "os/architecture/variant" without empty parts; empty: unknown.
	Platform string `json:"platform,omitempty"`
	// Digest is that of the manifest that an index names.
	Digest digest.Digest `json:"digest,omitempty"`
	// Attests is the platform's manifest that this one makes statements about, as BuildKit
	// writes them.
	Attests digest.Digest `json:"attests,omitempty"`
}

// NamedRow is content that a manifest names.
type NamedRow struct {
	Digest digest.Digest
	// Size is in bytes, or -1 if it is not held.
	Size int64
	// Manifest: the repository holds it as a manifest.
	Manifest bool
	// Users counts the manifests of the repository that name it, at most 2: one is the
	// manifest itself.
	Users int
	// Elsewhere: another repository of the same tree holds it too, or the caller may not know.
	Elsewhere bool
}

// ContentRow is content that a repository holds.
type ContentRow struct {
	At     string
	Repo   string
	Digest digest.Digest
	Size   int64 // in bytes
	// Manifest and Blob say how it is held; both may be.
	Manifest, Blob bool
}

// CatalogState is how much of what is held is described.
type CatalogState struct {
	// Whole: everything is. Else Described of about Manifests are; both are 0 for callers who
	// may not read all of them.
	Whole                bool
	Described, Manifests int64
}

// MaxSought is how many rows a list with WithSought passes over before it ends in a *Pause.
const MaxSought = 100_000

type soughtKey struct{}

// sought is what a list is searched for.
type sought struct {
	part string
	said bool
}

// WithSought returns a context for a list of repositories or tags whose names have part in them, in
// any letter case: the others are passed over before anything else is read of them. Rows that are
// not described yet may come in addition.
func WithSought(ctx context.Context, part string) context.Context {
	if part == "" {
		return ctx
	}
	return context.WithValue(ctx, soughtKey{}, sought{part: strings.ToLower(part)})
}

// WithSoughtText is WithSought for a list of repositories that also has those of which the title,
// description or source in Says has the part.
func WithSoughtText(ctx context.Context, part string) context.Context {
	if part == "" {
		return ctx
	}
	return context.WithValue(ctx, soughtKey{}, sought{strings.ToLower(part), true})
}

// Sought returns the part of WithSought in lower case, or "", and whether it is from WithSoughtText.
func Sought(ctx context.Context) (part string, said bool) {
	s, _ := ctx.Value(soughtKey{}).(sought)
	return s.part, s.said
}

type lookKey struct{}

// WithLook returns a context for reads on behalf of a page: a Reader with it counts no pull,
// restarts no grace and asks no upstream. What a mirror does not hold is then unknown to it.
func WithLook(ctx context.Context) context.Context { return context.WithValue(ctx, lookKey{}, true) }

// WithoutLook returns a context for a read that the visitor of a page has asked for: it is that of a client.
func WithoutLook(ctx context.Context) context.Context {
	return context.WithValue(ctx, lookKey{}, false)
}

// Looks reports whether ctx is from WithLook.
func Looks(ctx context.Context) bool {
	looks, _ := ctx.Value(lookKey{}).(bool)
	return looks
}
