package pages

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

// tagOrders are the orders of a repository's tags, the default first.
var tagOrders = []choice{{Value: "version", Name: "Version"}, {Value: "push", Name: "Newest push"}, {Value: "pull", Name: "Newest pull"}, {Value: "name", Name: "Name"}}

// tagged is a row of the table of tags.
type tagged struct {
	core.TagRow
	// Size is what a client downloads for the preferred platform, in bytes, or -1.
	Size      int64
	Platforms string
	Kind      string
	// Stale: nobody has pushed or pulled it for long.
	Stale bool
}

// staleAfter is how long a tag is not stale after its last push or pull.
const staleAfter = 90 * 24 * time.Hour

// untaggedKind is the part of a repository that is without tags.
const untaggedKind = "untagged"

type repositoryPage struct {
	frame
	Repo   string
	Row    core.RepositoryRow
	Mirror string
	// Newest is the image of the newest tag, and Size is what a client downloads of it.
	Newest core.ImageRow
	Kind   string
	Size   int64
	Source string
	Pulls  []tool
	Filter string
	Orders []choice
	Tags   part[tagged]
	Shown  int // tags that the rows have, with those that share one
	// Images are those without a tag, if the page has them instead of tags.
	Images   part[core.ImageRow]
	Untagged bool
	Parts    []choice
	Rights   []Right
	Deletes  bool // the visitor may
	Fetches  bool // so may he have the upstream asked
	// Offers: the tags that the upstream had are known as of Offered.
	Offers      bool
	Offered     time.Time
	First, Next string
}

func (s *Site) repository(w http.ResponseWriter, r *http.Request, f reference) {
	ctx, values := r.Context(), r.URL.Query()
	row, err := s.Registry.RepositoryRow(ctx, f.repo)
	after, badPlace := s.place(values.Get("after"))
	if err == nil {
		err = badPlace
	}
	if err != nil {
		s.broken(w, r, f, err)
		return
	}
	p := repositoryPage{frame: s.frame(ctx, f.repo, crumbs(f.repo, false)...), Repo: f.repo, Row: row, Size: -1}
	p.Mirror, _ = s.owner(f.repo)
	p.Filter = filterOf(values)
	if p.Mirror != "" {
		p.Offered, p.Offers = s.offers(ctx, f.repo)
		p.Fetches = s.mayFetch(f.repo)
	}
	var order string
	order, p.Orders = choose(tagOrders, values.Get("order"))
	if row.NewestDigest != "" {
		// Without its image the page has fewer facts.
		if p.Newest, err = s.Registry.ImageRow(ctx, f.repo, row.NewestDigest); err == nil {
			p.Kind, p.Size, p.Source = kindOf(p.Newest), s.toPull(ctx, f.repo, p.Newest), sourceOf(p.Newest)
		}
		p.Pulls = s.pulls(p.Kind, f.repo, row.Newest, row.NewestDigest)
	}
	p.Rights = s.rights(f.repo)
	p.Deletes = s.may(policies.Delete, p.Rights)
	p.Untagged = p.Filter == "" && p.Building == "" && (row.Tags == 0 || values.Get("kind") == untaggedKind)
	if row.Tags > 0 {
		p.Parts = []choice{{Name: "Tags", Address: repositoryPath(f.repo), Chosen: !p.Untagged},
			{Name: "Without a tag", Address: repositoryPath(f.repo) + "?kind=" + untaggedKind, Chosen: p.Untagged}}
	}
	var next string
	if p.Untagged {
		order = ""
		p.Images, err = read(s, s.Registry.ImageRows(ctx, f.repo, after), func(row core.ImageRow) string { return row.At },
			func(row core.ImageRow) bool { return len(row.Tags) == 0 })
		next = p.Images.Next
	} else {
		err = s.tags(ctx, &p, core.TagOrder(order), after)
		next = p.Tags.Next
	}
	if err != nil {
		s.broken(w, r, f, err)
		return
	}
	kind := ""
	if p.Untagged && row.Tags > 0 {
		kind = untaggedKind
	}
	if next != "" {
		p.Next = tagsAddress(f.repo, kind, p.Filter, order, next)
	}
	if after != "" {
		p.First = tagsAddress(f.repo, kind, p.Filter, order, "")
	}
	s.render(w, r, http.StatusOK, "repository", p, new(bytes.Buffer))
}

// filterOf is the part of a tag that is searched for.
func filterOf(values url.Values) string {
	text := values.Get("tag")
	return strings.ToValidUTF8(text[:min(core.MaxTagLength, len(text))], "")
}

// tagsAddress is the address of a repository's page, with what is not the default.
func tagsAddress(repo, kind, filter, order, after string) string {
	values := url.Values{}
	for name, value := range map[string]string{"kind": kind, "tag": filter, "order": order, "after": after} {
		if value != "" && (name != "order" || value != tagOrders[0].Value) {
			values.Set(name, value)
		}
	}
	if len(values) == 0 {
		return repositoryPath(repo)
	}
	return repositoryPath(repo) + "?" + values.Encode()
}

// tags reads a page of tags. Tags of one digest have one row: in the orders of versions and names
// that of the first, else that of the first on the page.
func (s *Site) tags(ctx context.Context, p *repositoryPage, order core.TagOrder, after string) error {
	shown := map[string]bool{}
	list, err := read(s, s.Registry.TagRows(core.WithSought(ctx, p.Filter), p.Repo, order, after), func(row core.TagRow) string { return row.At },
		func(row core.TagRow) bool {
			if p.Filter != "" {
				return strings.Contains(strings.ToLower(row.Name), strings.ToLower(p.Filter))
			}
			if shown[row.Name] || leads(order, row) != row.Name {
				p.Shown++
				return false
			}
			for _, alias := range row.Aliases {
				shown[alias] = true
			}
			return true
		})
	if err != nil {
		return err
	}
	p.Shown += len(list.Rows)
	p.Tags = part[tagged]{Passed: list.Passed, Next: list.Next, Short: list.Short}
	for _, row := range list.Rows {
		slices.SortStableFunc(row.Aliases, func(a, b string) int { return cmp.Compare(core.VersionKey(b), core.VersionKey(a)) })
		one := tagged{TagRow: row, Size: s.toPull(ctx, p.Repo, row.Image), Platforms: platformNames(row.Image), Kind: kindOf(row.Image)}
		one.Stale = !row.Since.IsZero() && !slices.ContainsFunc([]time.Time{row.Since, row.Pulls.Last, row.Image.Pulls.Last},
			func(used time.Time) bool { return s.now.Sub(used) < staleAfter })
		p.Tags.Rows = append(p.Tags.Rows, one)
	}
	return nil
}

// leads returns the tag, among those of one digest, that has the row.
func leads(order core.TagOrder, row core.TagRow) string {
	leader, key := row.Name, core.VersionKey(row.Name)
	for _, alias := range row.Aliases {
		switch other := core.VersionKey(alias); {
		case order == core.TagsByVersion && (other > key || other == key && alias < leader):
			leader, key = alias, other
		case order == core.TagsByName && alias < leader:
			leader = alias
		}
	}
	return leader
}

// toPull is what a client downloads of an image, of an index for its preferred platform, in bytes;
// -1 if that is not known.
func (s *Site) toPull(ctx context.Context, repo string, row core.ImageRow) int64 {
	if row.Described && isIndex(row) {
		some := ofPlatforms(row)
		if len(some) == 0 {
			return -1
		}
		child, err := s.Registry.ImageRow(ctx, repo, preferred(some).Digest)
		if err != nil || isIndex(child) {
			return -1 // a mirror may not hold it
		}
		row = child
	}
	if !row.Described {
		return -1
	}
	return row.Content
}

// sourceOf is the address that an image names as its source, or empty.
func sourceOf(row core.ImageRow) string { return row.Annotations[ocispec.AnnotationSource] }

// past is what a tag named.
type past struct {
	core.TagState
	Until  time.Time
	Held   bool
	Naming bool // it still does
	// Back: the visitor may point the tag back to it.
	Back bool
}

type historyPage struct {
	frame
	Repo string
	Row  core.TagRow
	Past []past
	// Moves: the visitor may point the tag back.
	Moves bool
}

// history shows what a tag has named.
func (s *Site) history(w http.ResponseWriter, r *http.Request, f reference) {
	ctx := r.Context()
	row, err := s.Registry.TagRow(ctx, f.repo, f.Tag)
	if err != nil {
		s.broken(w, r, f, err)
		return
	}
	way := append(crumbs(f.repo, true), crumb{f.Tag, tagPath(f.repo, f.Tag)})
	p := historyPage{frame: s.frame(ctx, "History of "+f.Tag, way...), Repo: f.repo, Row: row}
	p.Past = append(p.Past, past{TagState: row.TagState, Held: row.Image.Digest != "", Naming: true})
	until := row.Since
	rights := s.rights(f.repo)
	moves := s.mirrorOf(f.repo) == "" && s.may(policies.Create, rights) && s.may(policies.Update, rights)
	p.Moves = moves
	for _, before := range row.Before {
		one := past{TagState: before, Until: until}
		if !before.Seen.IsZero() {
			one.Until = before.Seen
		}
		_, err := s.Registry.ImageRow(ctx, f.repo, before.Digest)
		one.Held = err == nil
		one.Back = moves && one.Held && one.Digest != row.Digest
		p.Past = append(p.Past, one)
		until = before.Since
	}
	s.render(w, r, http.StatusOK, "history", p, new(bytes.Buffer))
}
