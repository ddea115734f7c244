package pages

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

const (
	// historyInk is how many bytes the history of an image may take on its page, and tableInk
	// each of the tables.
	historyInk = 14 << 10
	tableInk   = 9 << 10
	// maxRaw bounds the manifest on its page, as it is sent.
	maxRaw = 64 << 10
	// afterRaw is what a page has behind its manifest, at most.
	afterRaw = 1 << 10
)

// platform is an image of an index.
type platform struct {
	core.PlatformRow
	Size    int64
	Chosen  bool
	Address string
}

type imagePage struct {
	frame
	Repo, Tag string
	Mirror    string
	Row       core.ImageRow // what the tag or the digest names
	Moved     int           // what the tag named before
	Since     core.TagState
	Kind      string
	Names     []string // other tags of it
	MoreNames bool
	Pulls     []tool
	Platforms []platform
	Unlisted  int // platforms that are not shown
	// Shown is the image whose layers the page has: Row, or that of the platform.
	Shown core.ImageRow
	// Platform is the one of Shown, and Chosen the same if the address names it.
	Platform, Chosen string
	// Absent says why there are no layers. Lacks: something of the image is not held.
	Absent      string
	Lacks       bool
	Bar         bar
	History     []historyRow
	HistoryMore int
	// Files are those of an artifact, which has no history.
	Files       []file
	MoreFiles   bool
	Config      []pair
	Env, Labels table
	Annotations table
	About       []pair
	Source      template.HTML
	Refers      []refer
	Within      []refer
	RefersMore  bool
	Inspect     string // the line that shows the whole config
	Deletes     bool   // the visitor may
	// Fetch is where a form has the mirror fetch what the page lacks. Empty: it lacks nothing that could
	// be fetched, or the visitor may not.
	Fetch string
	// Raw is the manifest. It is called last, when the length of the page is known.
	Raw func() template.HTML
}

func (s *Site) image(w http.ResponseWriter, r *http.Request, f reference) {
	ctx := r.Context()
	p := imagePage{Repo: f.repo, Tag: f.Tag}
	d, title := f.Digest, short(f.Digest)
	if f.Tag != "" {
		row, err := s.Registry.TagRow(ctx, f.repo, f.Tag)
		if err != nil {
			s.broken(w, r, f, err)
			return
		}
		d, title = row.Digest, f.Tag
		p.Moved, p.Since, p.Names, p.MoreNames = len(row.Before), row.TagState, row.Aliases, row.MoreAliases
	}
	var err error
	if p.Row, err = s.Registry.ImageRow(ctx, f.repo, d); err != nil {
		s.broken(w, r, f, err)
		return
	}
	if f.Tag == "" {
		p.Names, p.MoreNames = p.Row.Tags, p.Row.MoreTags
	}
	p.frame = s.frame(ctx, f.repo+f.path()[len(repositoryPath(f.repo)):], crumbs(f.repo, true)...)
	if f.Tag == "" {
		p.Title = f.repo + "@" + title
	}
	p.Mirror, _ = s.owner(f.repo)
	p.Deletes = s.may(policies.Delete, s.rights(f.repo))
	p.Kind = kindOf(p.Row)
	out := new(bytes.Buffer)
	if err := s.contentOf(ctx, &p, f, r.URL.Query(), out); err != nil {
		s.broken(w, r, f, err)
		return
	}
	how := p.Kind
	if how != kindChart && p.Files != nil && !isIndex(p.Row) {
		how = kindArtifact
	}
	p.Pulls = s.pulls(how, f.repo, f.Tag, d)
	s.render(w, r, http.StatusOK, "image", &p, out)
}

// contentOf reads what the page shows beside the row of its image.
func (s *Site) contentOf(ctx context.Context, p *imagePage, f reference, values url.Values, out *bytes.Buffer) error {
	p.Shown = p.Row
	some := ofPlatforms(p.Row)
	if isIndex(p.Row) {
		p.Shown = core.ImageRow{}
		if chosen := s.choosePlatform(ctx, p, f, some, values.Get("platform")); chosen.Digest != "" {
			p.Platform, p.Shown = chosen.Platform, core.ImageRow{Digest: chosen.Digest}
			if values.Get("platform") == p.Platform {
				p.Chosen = p.Platform
			}
			if row, err := s.Registry.ImageRow(ctx, f.repo, chosen.Digest); err == nil {
				p.Shown = row
			}
		}
	} else if len(some) > 0 {
		p.Platform = some[0].Platform
	}
	if isLarge(p.Row) || isLarge(p.Shown) {
		end, err := s.take(ctx, large)
		if err != nil {
			return err
		}
		defer end()
	}
	raw, err := s.manifest(ctx, f.repo, p.Row.Digest)
	if err != nil && !notHeld(err) {
		return err
	}
	p.Raw = func() template.HTML { return rawText(raw, min(maxRaw, maxPage-afterRaw-out.Len())) }
	shown := raw
	if p.Shown.Digest != p.Row.Digest {
		shown = nil
		if p.Shown.Digest != "" {
			if shown, err = s.manifest(ctx, f.repo, p.Shown.Digest); err != nil && !notHeld(err) {
				return err
			}
		}
	}
	var c config
	artifact, err := s.artifact(ctx, p, ask(values), f, shown)
	if err == nil && !artifact {
		c, err = s.layers(ctx, p, f.repo, shown)
	}
	if err != nil {
		return err
	}
	if p.Lacks && s.mayFetch(f.repo) {
		p.Fetch = f.path() + fetchSuffix
	}
	s.texts(p, c, raw)
	p.Refers, p.Within, p.RefersMore, err = s.refers(ctx, f.repo, p.Row.Digest, p.Row)
	p.Inspect = "skopeo inspect --config docker://" + s.Host + "/" + f.repo + "@" + string(p.Shown.Digest)
	return err
}

// notHeld reports whether an error means that content is not here.
func notHeld(err error) bool {
	return slices.ContainsFunc(absent, func(one error) bool { return errors.Is(err, one) })
}

// choosePlatform returns the image of an index that the page shows.
func (s *Site) choosePlatform(ctx context.Context, p *imagePage, f reference, some []core.PlatformRow, wanted string) core.PlatformRow {
	chosen := preferred(some)
	for _, one := range some {
		if one.Platform == wanted {
			chosen = one
			break
		}
	}
	for _, one := range some {
		if len(p.Platforms) == maxShownPlatforms {
			p.Unlisted = len(some) - maxShownPlatforms
			break
		}
		shown := platform{PlatformRow: one, Size: -1, Chosen: one == chosen,
			Address: f.path() + "?" + url.Values{"platform": {one.Platform}}.Encode()}
		if row, err := s.Registry.ImageRow(ctx, f.repo, one.Digest); err == nil && row.Described {
			shown.Size = row.Content
		}
		p.Platforms = append(p.Platforms, shown)
	}
	return chosen
}

// maxShownPlatforms bounds the platforms that a page offers.
const maxShownPlatforms = 32

// manifest reads a manifest that is held here. Errors: core.ErrManifestUnknown and others that
// notHeld knows.
func (s *Site) manifest(ctx context.Context, repo string, d digest.Digest) ([]byte, error) {
	m, err := s.Registry.Manifest(ctx, repo, core.Reference{Digest: d})
	return m.Bytes, err
}

// layers reads the image that is shown: its config, and its layers with their history.
func (s *Site) layers(ctx context.Context, p *imagePage, repo string, manifest []byte) (config, error) {
	switch {
	case p.Shown.Digest == "":
		p.Absent = "It names no image of a platform."
		return config{}, nil
	case manifest == nil && p.Mirror != "":
		p.Lacks = true
		p.Absent = "Not held here. A pull fetches it from " + p.Mirror + "."
		return config{}, nil
	case manifest == nil:
		p.Absent = "Not held here."
		return config{}, nil
	}
	doc, err := core.Inspect(manifest)
	if err != nil {
		p.Absent = "Its manifest cannot be read."
		return config{}, nil
	}
	shared := map[digest.Digest]bool{}
	named, err := s.Registry.ImageNames(ctx, repo, p.Shown.Digest)
	if err != nil && !notHeld(err) {
		return config{}, err
	}
	for _, row := range named {
		shared[row.Digest] = row.Users > 1
	}
	var layers []layer
	var sizes []int64
	for _, l := range slices.Concat(doc.Layers, doc.Blobs) {
		layers = append(layers, layer{Size: l.Size, Digest: string(l.Digest), MediaType: l.MediaType, Shared: shared[l.Digest]})
		sizes = append(sizes, l.Size)
	}
	var c config
	switch {
	case doc.Configurable():
		data, err := s.blob(ctx, repo, doc.Config.Digest)
		if err != nil && !notHeld(err) {
			return config{}, err
		}
		c = parseConfig(data)
		if p.Lacks = data == nil; p.Lacks {
			p.Absent = "Its config is not held here, so its history is not known."
		}
	case doc.Config != nil && doc.Config.Size > core.MaxConfig:
		p.Absent = "Its config is larger than " + size(core.MaxConfig) + ", so its history is not shown."
	}
	var colors []int
	p.Bar, colors = drawLayers(sizes)
	p.History, p.HistoryMore = history(&ink{historyInk}, c.History, layers, colors)
	return c, nil
}

// blob reads a config that is held here, at most core.MaxConfig.
func (s *Site) blob(ctx context.Context, repo string, d digest.Digest) ([]byte, error) {
	b, err := s.Registry.Blob(ctx, repo, d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	data, err := io.ReadAll(io.LimitReader(b, core.MaxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("config %s of %s: %w", d, repo, err)
	}
	if len(data) > core.MaxConfig {
		return nil, fmt.Errorf("%w: config %s is larger than its manifest says", core.ErrBlobUnknown, d)
	}
	return data, nil
}

// texts fills in the tables of what the image says.
func (s *Site) texts(p *imagePage, c config, raw []byte) {
	k := &ink{tableInk}
	p.Config = c.about(k)
	k = &ink{tableInk}
	p.Env = k.pairs(len(c.Config.Env), func(i int) (string, string) {
		name, value, _ := strings.Cut(c.Config.Env[i], "=")
		return name, value
	})
	p.Labels = sorted(&ink{tableInk}, c.Config.Labels)
	// A document that cannot be read has no annotations.
	doc, _ := core.Inspect(raw)
	p.Annotations = sorted(&ink{tableInk}, doc.Annotations)
	said := func(name string) string {
		for _, from := range []map[string]string{doc.Annotations, p.Shown.Annotations, c.Config.Labels} {
			if value := from[name]; value != "" {
				return value
			}
		}
		return ""
	}
	k = &ink{tableInk}
	for _, row := range []struct {
		name template.HTML
		key  string
	}{
		{"Version", ocispec.AnnotationVersion}, {"Revision", ocispec.AnnotationRevision}, {"Licence", ocispec.AnnotationLicenses},
		{"Vendor", ocispec.AnnotationVendor}, {"Base image", ocispec.AnnotationBaseImageName},
	} {
		value := said(row.key)
		if value == "" {
			continue
		}
		shown := k.text(value, false)
		if address := commit(said(ocispec.AnnotationSource), value); row.key == ocispec.AnnotationRevision && address != "" {
			shown = template.HTML(`<a href="`+template.HTMLEscapeString(address)+`" rel="noreferrer nofollow">`) + shown + "</a>"
		}
		p.About = append(p.About, pair{row.name, shown})
	}
	if source := said(ocispec.AnnotationSource); source != "" {
		p.Source = link(source)
	}
	if description := said(ocispec.AnnotationDescription); description != "" {
		p.About = append([]pair{{"Description", k.text(description, false)}}, p.About...)
	}
}

// sorted makes a table of a map.
func sorted(k *ink, texts map[string]string) table {
	names := slices.Sorted(maps.Keys(texts))
	return k.pairs(len(names), func(i int) (string, string) { return names[i], texts[names[i]] })
}

// rawText is a manifest as HTML of at most most bytes, with a line for each member.
func rawText(data []byte, most int) template.HTML {
	if len(data) > 2*maxRaw {
		data = data[:2*maxRaw]
	}
	var indented bytes.Buffer
	if !bytes.Contains(data, []byte("\n")) && json.Indent(&indented, data, "", "  ") == nil && indented.Len() <= most {
		data = indented.Bytes()
	}
	// Quotes are harmless in a text, and a manifest is full of them.
	text := strings.ReplaceAll(string(safe(string(data), 5*maxRaw, true)), "&#34;", `"`)
	if len(text) > most {
		cut := max(0, most-len("…</bdi>"))
		text = text[:cut]
		// A tag or an entity that was cut goes as a whole, and so does half a letter.
		if i := strings.LastIndexAny(text, "<&"); i >= 0 && !strings.ContainsAny(text[i:], ">;") {
			text = text[:i]
		}
		if strings.Count(text, "<span") > strings.Count(text, "</span>") {
			text = text[:strings.LastIndex(text, "<span")]
		}
		text = strings.ToValidUTF8(text, "") + "…</bdi>"
	}
	return template.HTML(text)
}
