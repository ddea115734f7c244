package api

import (
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/overview"
	"github.com/eblume/caddy-registry/core"
)

// The JSON of answers, as openapi.json describes it. Members may be added, and none changes. Times
// are in UTC (RFC 3339), and sizes are bytes.

// utc returns a time as answers have it. One whose year has no four digits there is left out: images
// can say anything.
func utc(t time.Time) time.Time {
	if t = t.UTC(); t.Year() < 0 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

// List is the answer of every list: rows of one kind, and how it goes on.
type List struct {
	Repositories []Repository `json:"repositories,omitzero"`
	Tags         []Tag        `json:"tags,omitzero"`
	Content      []Content    `json:"content,omitzero"`
	Images       []*Image     `json:"images,omitzero"`
	Users        []Content    `json:"users,omitzero"`
	Continuation
}

// UpstreamAnswer is the tags that an upstream had when it was asked for them last, in byte order.
type UpstreamAnswer struct {
	AsOf time.Time `json:"as_of"`
	Tags []string  `json:"tags"`
	Continuation
}

// MirrorsAnswer is the mirrors.
type MirrorsAnswer struct {
	Mirrors []overview.Mirror `json:"mirrors"`
}

// ActivityAnswer is a part of the activity, the newest first.
type ActivityAnswer struct {
	Events []overview.Event `json:"events"`
	Continuation
}

// Continuation says how a list goes on.
type Continuation struct {
	More  bool   `json:"more"`
	After string `json:"after,omitempty"`
	// Incomplete: the registry is still learning what it holds, and the list may lack rows.
	Incomplete bool `json:"incomplete,omitempty"`
}

// State is how much of what is held is described.
type State struct {
	Whole     bool  `json:"whole"`
	Described int64 `json:"described,omitempty"`
	Manifests int64 `json:"manifests,omitempty"`
}

// Pulls is core.PullCount.
type Pulls struct {
	N    int64     `json:"n"`
	Last time.Time `json:"last,omitzero"`
	By   string    `json:"by,omitempty"`
}

func shownPulls(p core.PullCount) Pulls { return Pulls{p.N, utc(p.Last), p.By} }

// Repository is core.RepositoryRow.
type Repository struct {
	Name      string        `json:"name"`
	Kind      string        `json:"kind"`
	Tags      int64         `json:"tags"`
	Manifests int64         `json:"manifests"`
	Bytes     int64         `json:"bytes"`
	OnlyHere  *int64        `json:"only_here,omitempty"`
	Newest    string        `json:"newest,omitempty"`
	Digest    digest.Digest `json:"newest_digest,omitempty"`
	Pushed    time.Time     `json:"pushed,omitzero"`
	Pulls     Pulls         `json:"pulls"`
	Days      []DayPulls    `json:"pull_days,omitempty"`
}

// DayPulls is core.DayPulls.
type DayPulls struct {
	Day string `json:"day"`
	N   int64  `json:"n"`
}

func (e *exchange) shownRepository(row core.RepositoryRow) Repository {
	shown := Repository{
		Name: row.Name, Kind: kindPrivate, Tags: row.Tags, Manifests: row.Manifests, Bytes: row.Bytes,
		Newest: row.Newest, Digest: row.NewestDigest, Pushed: utc(row.Pushed), Pulls: shownPulls(row.Pulls),
	}
	if e.Mirror(row.Name) != "" {
		shown.Kind = kindMirror
	}
	for _, day := range row.Days {
		shown.Days = append(shown.Days, DayPulls(day))
	}
	if row.OnlyHere >= 0 {
		shown.OnlyHere = &row.OnlyHere
	}
	return shown
}

// TagState is core.TagState.
type TagState struct {
	Digest digest.Digest `json:"digest"`
	Since  time.Time     `json:"since,omitzero"`
	By     string        `json:"by,omitempty"`
	Seen   time.Time     `json:"seen,omitzero"`
}

func shownState(s core.TagState) TagState {
	return TagState{s.Digest, utc(s.Since), s.By, utc(s.Seen)}
}

// Tag is core.TagRow.
type Tag struct {
	Repository string `json:"repository,omitempty"` // in lists over repositories
	Name       string `json:"name"`
	TagState
	Aliases     []string `json:"aliases,omitempty"`
	MoreAliases bool     `json:"more_aliases,omitempty"`
	Image       *Image   `json:"image,omitempty"`
	Pulls       Pulls    `json:"pulls"`
}

func shownTag(row core.TagRow) Tag {
	shown := Tag{
		Name: row.Name, TagState: shownState(row.TagState), Aliases: row.Aliases, MoreAliases: row.MoreAliases,
		Pulls: shownPulls(row.Pulls),
	}
	if row.Image.Digest != "" {
		shown.Image = shownImage(row.Image)
	}
	return shown
}

// Image is core.ImageRow.
type Image struct {
	Digest       digest.Digest      `json:"digest"`
	Described    bool               `json:"described"`
	Tags         []string           `json:"tags,omitempty"`
	MoreTags     bool               `json:"more_tags,omitempty"`
	MediaType    string             `json:"media_type,omitempty"`
	ArtifactType string             `json:"artifact_type,omitempty"`
	Size         int64              `json:"size"`
	ContentSize  int64              `json:"content_size"`
	Layers       int                `json:"layers"`
	Config       digest.Digest      `json:"config,omitempty"`
	Subject      digest.Digest      `json:"subject,omitempty"`
	Platforms    []core.PlatformRow `json:"platforms,omitempty"`
	Created      time.Time          `json:"created,omitzero"`
	Annotations  map[string]string  `json:"annotations,omitempty"`
	Pushed       time.Time          `json:"pushed,omitzero"`
	By           string             `json:"by,omitempty"`
	Pulls        Pulls              `json:"pulls"`
}

func shownImage(row core.ImageRow) *Image {
	return &Image{
		Digest: row.Digest, Described: row.Described, Tags: row.Tags, MoreTags: row.MoreTags,
		MediaType: row.MediaType, ArtifactType: row.ArtifactType, Size: row.Size, ContentSize: row.Content,
		Layers: row.Layers, Config: row.Config, Subject: row.Subject, Platforms: row.Platforms,
		Created: utc(row.Created), Annotations: row.Annotations, Pushed: utc(row.Pushed), By: row.By,
		Pulls: shownPulls(row.Pulls),
	}
}

// Named is core.NamedRow.
type Named struct {
	Digest     digest.Digest `json:"digest"`
	Held       bool          `json:"held"`
	Size       int64         `json:"size,omitempty"`
	Manifest   bool          `json:"manifest"`
	SharedHere bool          `json:"shared_here"`
	Elsewhere  bool          `json:"elsewhere"`
}

// Content is core.ContentRow.
type Content struct {
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"`
	Size       int64         `json:"size"`
	Manifest   bool          `json:"manifest"`
	Blob       bool          `json:"blob"`
}

func shownContent(row core.ContentRow) Content {
	return Content{row.Repo, row.Digest, row.Size, row.Manifest, row.Blob}
}

// RepositoryAnswer describes a repository.
type RepositoryAnswer struct {
	Repository Repository `json:"repository"`
	Newest     *Tag       `json:"newest,omitempty"` // the tag that moved last
	Rights     []Right    `json:"rights,omitempty"`
}

// ImageAnswer describes a tag and its image, or a manifest.
type ImageAnswer struct {
	Repository string    `json:"repository"`
	Tag        *Tag      `json:"tag,omitempty"`   // without its Image
	Image      *Image    `json:"image,omitempty"` // nil: what the tag names is not held
	Names      []Named   `json:"names"`
	Users      []Content `json:"users"` // the first
	MoreUsers  bool      `json:"more_users"`
}

// HistoryAnswer is what a tag names and named before.
type HistoryAnswer struct {
	Repository string     `json:"repository"`
	Tag        string     `json:"tag"`
	Now        TagState   `json:"now"`
	Before     []TagState `json:"before"`
}

// Deleted answers a deletion.
type Deleted struct {
	Deleted Deletion `json:"deleted"`
}

// Deletion is what went.
type Deletion struct {
	Repository string `json:"repository"`
	// Digest is the manifest, or what the tag named; it is empty if that could not be read.
	Digest digest.Digest `json:"digest,omitempty"`
	// Manifest: it went, and not only tags.
	Manifest bool     `json:"manifest"`
	Tags     []string `json:"tags"`
	// Manifests are all that went by a plan, in the order in which they went.
	Manifests []digest.Digest `json:"manifests,omitempty"`
}

// PlanAnswer is what the deletion of a manifest removes, with what belongs to it: deletion.Plan.
type PlanAnswer struct {
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"`
	// Key names the plan. It is another one once the deletion would remove something else.
	Key   string `json:"key"`
	Goes  []Part `json:"goes"`
	Stays []Part `json:"stays"`
	// Tags go, and Within are manifests that stay and will lack the deleted one.
	Tags   []string        `json:"tags"`
	Within []digest.Digest `json:"within"`
	Bytes  int64           `json:"bytes"`
	AtMost bool            `json:"at_most"`
}

// Part is a manifest of a plan: deletion.Image.
type Part struct {
	Digest       digest.Digest `json:"digest"`
	Part         string        `json:"part"`
	Of           digest.Digest `json:"of,omitempty"`
	Platform     string        `json:"platform,omitempty"`
	Attests      bool          `json:"attests,omitempty"`
	Attached     core.Attached `json:"attached,omitempty"`
	Tags         []string      `json:"tags"`
	MediaType    string        `json:"media_type,omitempty"`
	ArtifactType string        `json:"artifact_type,omitempty"`
	Size         int64         `json:"size"`
}

// Errors answers a request that was refused or went wrong.
type Errors struct {
	Errors []Error `json:"errors"`
}

// Error is a code for programs, and a sentence for people.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Detail is the Deletion so far if an error ended it halfway.
	Detail any `json:"detail,omitempty"`
}
