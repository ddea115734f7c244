package pages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/deletion"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

const (
	// emptiedAtOnce bounds how many images one request deletes of a repository that goes, and
	// emptyFor how long it begins with further ones: a browser waits for the answer.
	emptiedAtOnce = 1000
	emptyFor      = 20 * time.Second
)

// going is a chosen image with its parts that go with it.
type going struct {
	*deletion.Image
	Kind  string
	Parts []component
}

// component is a part of an image.
type component struct {
	What string
	*deletion.Image
}

type deletePage struct {
	frame
	Repo, Mirror string
	Row          core.RepositoryRow
	// Tags were chosen. Missing are those that do not exist, and Images digests that were chosen.
	Tags    []core.TagRow
	Missing []string
	Images  []digest.Digest
	// TagsKey, ImagesKey and RepositoryKey are what the visitor sees, as it is sent back.
	TagsKey, ImagesKey, RepositoryKey string
	Plan                              *deletion.Plan
	Goes                              []going
	Stays                             []component
	// Problem says why there is no Plan.
	Problem string
	// Days are how long an image without a tag is kept. 0: until somebody deletes it.
	Days int
	// Changed: what the visitor confirmed is not what is here now.
	Changed bool
	// Done are the tags that went, and Left the manifests that an error left. Again is that of the
	// outcome.
	Done  []string
	Left  []digest.Digest
	Again bool
}

// delete shows what goes with a deletion, and then deletes that.
func (s *Site) delete(w http.ResponseWriter, r *http.Request, f reference) {
	ctx := r.Context()
	values, ok := s.form(w, r)
	if !ok {
		return
	}
	row, err := s.Registry.RepositoryRow(ctx, f.repo)
	if err != nil {
		s.broken(w, r, f, err)
		return
	}
	chosen := url.Values{"tag": values["tag"], "image": values["image"]}
	back := repositoryPath(f.repo) + deleteSuffix
	if len(chosen["tag"])+len(chosen["image"]) > 0 {
		back += "?" + chosen.Encode()
	}
	if !s.admit(w, r, f.repo, back, policies.Delete) {
		return
	}
	p := &deletePage{frame: s.frame(ctx, "Delete from "+f.repo, crumbs(f.repo, true)...), Repo: f.repo, Row: row}
	p.Mirror, _ = s.owner(f.repo)
	p.RepositoryKey = key(f.repo, fmt.Sprint(row.Tags, row.Manifests, row.Bytes), row.Pushed.String(), string(row.NewestDigest))
	if p.Mirror == "" && s.Untagged > 0 {
		p.Days = max(1, int(s.Untagged/(24*time.Hour)))
	}
	if err := s.choose(ctx, p, chosen); err != nil {
		s.broken(w, r, f, err)
		return
	}
	if len(chosen["tag"])+len(chosen["image"]) > deletion.MaxChosen {
		s.fail(w, r, http.StatusBadRequest, "Too many at once", fmt.Sprintf("Choose at most %d tags or images. Nothing was changed.", deletion.MaxChosen))
		return
	}
	do, seen := values.Get("do"), values.Get("key")
	switch {
	case r.Method != http.MethodPost || do == "":
		s.review(w, r, http.StatusOK, p)
	case do == "tags" && len(p.Tags) > 0 && seen == p.TagsKey:
		s.removeTags(w, r, p)
	case do == "images" && p.Plan != nil && seen == p.ImagesKey:
		s.deleteImages(w, r, p)
	case do == "repository" && strings.TrimSpace(values.Get("name")) != f.repo:
		p.Problem = "The name that was typed is another one. Nothing was deleted."
		s.review(w, r, http.StatusBadRequest, p)
	case do == "repository" && seen == p.RepositoryKey:
		s.deleteRepository(w, r, p)
	case do == "tags", do == "images", do == "repository":
		p.Changed = true
		s.review(w, r, http.StatusConflict, p)
	default:
		s.fail(w, r, http.StatusBadRequest, "This form cannot be read", "It is not one of this page. Nothing was changed.")
	}
}

// choose reads what was chosen, and makes the plan of deleting it. Errors: those of core's parsers and
// of a Catalog, core.ErrManifestUnknown if nothing of it is here.
func (s *Site) choose(ctx context.Context, p *deletePage, chosen url.Values) error {
	if len(chosen["tag"])+len(chosen["image"]) > deletion.MaxChosen {
		return nil // the caller refuses it
	}
	var roots []digest.Digest
	add := func(d digest.Digest) {
		if !slices.Contains(roots, d) {
			roots = append(roots, d)
		}
	}
	for _, text := range chosen["image"] {
		d, err := core.ParseDigest(text)
		if err == nil {
			_, err = s.Registry.ImageRow(ctx, p.Repo, d)
		}
		if err != nil {
			return err
		}
		add(d)
		p.Images = append(p.Images, d)
	}
	texts := []string{"tags", p.Repo}
	for _, text := range chosen["tag"] {
		tag, err := core.ParseTag(text)
		if err != nil {
			return err
		}
		row, err := s.Registry.TagRow(ctx, p.Repo, tag)
		if errors.Is(err, core.ErrManifestUnknown) {
			p.Missing = append(p.Missing, tag)
			continue
		} else if err != nil {
			return err
		}
		if slices.ContainsFunc(p.Tags, func(one core.TagRow) bool { return one.Name == tag }) {
			continue
		}
		p.Tags = append(p.Tags, row)
		texts = append(texts, tag, string(row.Digest))
		if row.Image.Digest != "" {
			add(row.Digest)
		}
	}
	if len(p.Missing) > 0 && len(p.Tags)+len(p.Images) == 0 {
		return core.ErrManifestUnknown
	}
	p.TagsKey = key(texts...)
	if len(roots) == 0 {
		return nil
	}
	plan, err := deletion.Of(ctx, s.Registry, p.Repo, roots, s.mirrorOf)
	switch {
	case errors.Is(err, deletion.ErrBuilding):
		p.Problem = "What goes with an image is not known while the index is being built. Try again later."
	case errors.Is(err, deletion.ErrTooMany):
		p.Problem = "That is more than one page can show. Choose fewer."
	case err != nil:
		return err
	default:
		p.Plan, p.ImagesKey = plan, plan.Key()
	}
	return nil
}

// mirrorOf returns the mirror that has a repository, or "".
func (s *Site) mirrorOf(repo string) string {
	mirror, _ := s.owner(repo)
	return mirror
}

// review shows what goes.
func (s *Site) review(w http.ResponseWriter, r *http.Request, status int, p *deletePage) {
	if p.Plan != nil {
		p.arrange()
	}
	page := new(bytes.Buffer)
	if s.compose("delete", p, page) && page.Len() > maxPage {
		s.fail(w, r, http.StatusBadRequest, "Too many at once", "What goes does not fit on one page. Choose fewer. Nothing was changed.")
		return
	}
	s.show(w, r, status, page)
}

// arrange puts the parts beside the chosen image because of which they go.
func (p *deletePage) arrange() {
	at, root := map[digest.Digest]int{}, map[digest.Digest]digest.Digest{}
	for _, image := range p.Plan.Goes {
		if image.Part == deletion.Chosen {
			at[image.Digest], root[image.Digest] = len(p.Goes), image.Digest
			p.Goes = append(p.Goes, going{Image: image, Kind: kindOf(image.ImageRow)})
			continue
		}
		root[image.Digest] = root[image.Of]
		of := &p.Goes[at[root[image.Of]]]
		of.Parts = append(of.Parts, component{partName(image), image})
	}
	for _, image := range p.Plan.Stays {
		p.Stays = append(p.Stays, component{partName(image), image})
	}
}

// partName is what a part of an image is.
func partName(image *deletion.Image) string {
	switch {
	case image.Attests:
		return "Attestation"
	case image.Attached != "":
		return attachedNames[image.Attached]
	case image.Part == deletion.Refers:
		return artifactName(image.ArtifactType)
	case image.Platform != "":
		return image.Platform
	}
	return kindOf(image.ImageRow)
}

// removeTags removes the chosen tags, each only if it still names what was shown.
func (s *Site) removeTags(w http.ResponseWriter, r *http.Request, p *deletePage) {
	ctx := context.WithoutCancel(r.Context())
	for _, row := range p.Tags {
		err := s.Registry.DeleteTag(core.WithExpected(ctx, core.Expected{Digest: row.Digest}), p.Repo, row.Name)
		if err != nil {
			s.stopped(w, r, p, plural(int64(len(p.Done)), "tag", "tags")+" of "+count(int64(len(p.Tags)))+" went", err)
			return
		}
		p.Done = append(p.Done, row.Name)
	}
	s.gone(w, r, p, plural(int64(len(p.Done)), "tag is", "tags are")+" removed", "The images stay.")
}

// deleteImages deletes what the plan has.
func (s *Site) deleteImages(w http.ResponseWriter, r *http.Request, p *deletePage) {
	went, err := p.Plan.Delete(context.WithoutCancel(r.Context()), s.Registry)
	for _, image := range went {
		p.Done = append(p.Done, image.Names...)
	}
	done := int64(len(went))
	if err != nil {
		for _, image := range p.Plan.Goes {
			if !slices.Contains(went, image) {
				p.Left = append(p.Left, image.Digest)
			}
		}
		s.stopped(w, r, p, plural(done, "manifest", "manifests")+" of "+count(int64(len(p.Plan.Goes)))+" went", err)
		return
	}
	s.gone(w, r, p, plural(done, "manifest is", "manifests are")+" deleted", freed)
}

const freed = "The next collection frees what nothing needs any more."

// deleteRepository deletes all images of a repository that were there when the request came.
func (s *Site) deleteRepository(w http.ResponseWriter, r *http.Request, p *deletePage) {
	ctx := context.WithoutCancel(r.Context())
	done, more, err := deletion.Empty(ctx, s.Registry, p.Repo, s.now, emptiedAtOnce, time.Now().Add(emptyFor))
	went := plural(int64(done), "manifest", "manifests") + " of " + count(p.Row.Manifests) + " went"
	if err != nil {
		s.stopped(w, r, p, went, err)
		return
	}
	if _, err := s.Registry.RepositoryRow(ctx, p.Repo); err == nil {
		text := "What was pushed meanwhile stays."
		if p.Again = more; more {
			text = "The rest is too much for one answer. Confirm again to go on."
		}
		s.gone(w, r, p, went, text)
		return
	}
	p.Repo, p.Crumbs = "", nil
	s.gone(w, r, p, "The repository is deleted", plural(int64(done), "manifest", "manifests")+" went. "+freed)
}

// outcome is the page after a deletion.
type outcome struct {
	frame
	Repo string // empty: it is gone
	Text string
	// Tags went, and Left are manifests that should have gone; More and MoreLeft of them are not
	// shown.
	Tags     []string
	More     int
	Left     []digest.Digest
	MoreLeft int
	// Stopped: not everything has gone.
	Stopped bool
	// Again: the deletion of the repository can be confirmed again.
	Again bool
}

// maxGone bounds the tags, and the manifests, that the page after a deletion names.
const maxGone = 300

func (s *Site) gone(w http.ResponseWriter, r *http.Request, p *deletePage, title, text string) {
	s.after(w, r, http.StatusOK, p, title, text, false)
}

// stopped answers when an error ended a deletion halfway.
func (s *Site) stopped(w http.ResponseWriter, r *http.Request, p *deletePage, went string, err error) {
	title, status := "Stopped: "+went, http.StatusConflict
	var text string
	switch {
	case errors.Is(err, core.ErrDenied), errors.Is(err, core.ErrUnauthorized):
		if s.Refused != nil {
			s.Refused(p.Repo, policies.Delete, err)
		}
		status, text = http.StatusForbidden, "You may not delete any more here."
	case errors.Is(err, core.ErrChanged), notHeld(err):
		text = "Something changed meanwhile, and the deletion ended there. Look again at what goes."
	default:
		s.Log.Error("deletion stopped", "repository", p.Repo, "error", err)
		status, text = http.StatusInternalServerError, "The registry could not delete more; its log says why. The rest stays."
		if errors.Is(err, core.ErrUnavailable) || errors.Is(err, core.ErrTooManyRequests) {
			status, text = http.StatusServiceUnavailable, "The registry cannot delete more now. The rest stays. Try again in a moment."
		}
	}
	s.after(w, r, status, p, title, text, true)
}

func (s *Site) after(w http.ResponseWriter, r *http.Request, status int, p *deletePage, title, text string, stopped bool) {
	o := outcome{frame: p.frame, Repo: p.Repo, Text: text, Tags: p.Done, Left: p.Left, Stopped: stopped, Again: p.Again}
	o.Title = title
	if len(o.Tags) > maxGone {
		o.Tags, o.More = o.Tags[:maxGone], len(o.Tags)-maxGone
	}
	if len(o.Left) > maxGone {
		o.Left, o.MoreLeft = o.Left[:maxGone], len(o.Left)-maxGone
	}
	if o.Repo != "" { // with the last image the repository goes
		if _, err := s.Registry.RepositoryRow(r.Context(), o.Repo); err != nil {
			o.Repo, o.Crumbs = "", nil
		}
	}
	s.render(w, r, status, "gone", o, new(bytes.Buffer))
}
