package deletion

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// The bounds of a plan. One with more cannot be reviewed by a person.
const (
	// MaxChosen bounds the images that one plan begins with.
	MaxChosen = 100
	maxImages = 1000
	maxTags   = 2000
	maxNames  = 50_000 // content named by its images
	maxUsers  = 20_000 // rows of users read
)

// ErrTooMany says that a plan would be larger than people can review.
var ErrTooMany = errors.New("more than one review can show")

// ErrBuilding says that the catalog does not have everything yet, so that a plan would be a guess.
var ErrBuilding = errors.New("the index is being built")

// Part says why a manifest is in a plan.
type Part int

// The parts of an image.
const (
	Chosen Part = iota
	Named       // by one that goes, as the image of a platform
	Refers      // to one that goes
)

// Image is a manifest of a plan.
type Image struct {
	core.ImageRow
	// Names are all tags of it, in byte order.
	Names []string
	Part  Part
	// Of is the manifest because of which it is in the plan; empty if it was chosen.
	Of digest.Digest
	// Platform is the one that Of names it for, and Attests says that it makes statements about
	// an image of Of.
	Platform string
	Attests  bool
	// Attached is what it is to Of if it was found by a tag for that; else empty.
	Attached core.Attached
	// Users are all manifests of the repository that name it.
	Users []digest.Digest

	content []core.NamedRow
	// attached are the manifests of the plan that a tag attaches to it, and attachedBy has such
	// tags of its own.
	attached   []*Image
	attachedBy map[string]bool
}

// Plan is what a deletion removes.
type Plan struct {
	Repo string
	// Goes are the manifests that are deleted, with all their tags: the chosen ones, and behind
	// each image what goes because of it. Delete has another order. Stays are parts of the images
	// that something else keeps.
	Goes, Stays []*Image
	// Within are manifests that stay and name a chosen one, so that they lack it then; at most
	// maxWithin.
	Within []digest.Digest
	// Bytes is the size of the content that nothing needs any more. If AtMost, other
	// repositories may have parts of it, and the caller may not know; or a manifest that names
	// more than core.MaxNamed.
	Bytes  int64
	AtMost bool
}

const maxWithin = 20

// finder makes a plan.
type finder struct {
	core.Registry
	repo   string
	mirror func(repo string) string
	found  map[digest.Digest]*Image
	order  []*Image

	tags, names, users int
	// vague: a manifest that was not chosen names more than the catalog lists, perhaps a part.
	vague bool
}

// Of makes the plan of deleting manifests of a repository. mirror returns the mirror of a
// repository, or "": content is shared within the mirrors, and within the rest. Errors:
// core.ErrNameUnknown, core.ErrManifestUnknown, ErrTooMany, ErrBuilding.
func Of(ctx context.Context, r core.Registry, repo string, chosen []digest.Digest, mirror func(string) string) (*Plan, error) {
	if err := whole(ctx, r); err != nil {
		return nil, err
	}
	if len(chosen) > MaxChosen {
		return nil, ErrTooMany
	}
	f := &finder{Registry: r, repo: repo, mirror: mirror, found: map[digest.Digest]*Image{}}
	for _, d := range chosen {
		if _, err := f.add(ctx, &Image{ImageRow: core.ImageRow{Digest: d}}); err != nil {
			return nil, err
		}
	}
	for i := 0; i < len(f.order); i++ { // it grows
		if err := f.follow(ctx, f.order[i]); err != nil {
			return nil, err
		}
	}
	if err := f.unlisted(ctx); err != nil {
		return nil, err
	}
	stays := f.stays()
	p := &Plan{Repo: repo}
	for _, image := range f.order {
		if stays[image.Digest] {
			p.Stays = append(p.Stays, image)
		} else {
			p.Goes = append(p.Goes, image)
		}
	}
	for _, image := range p.Goes {
		for _, user := range image.Users {
			if one := f.found[user]; image.Part == Chosen && (one == nil || stays[user] && one.Subject != image.Digest) &&
				len(p.Within) < maxWithin && !slices.Contains(p.Within, user) {
				p.Within = append(p.Within, user)
			}
		}
	}
	return p, f.weigh(ctx, p, stays)
}

// whole returns ErrBuilding while the catalog does not have everything.
func whole(ctx context.Context, r core.Registry) error {
	state, err := r.CatalogState(ctx)
	if err == nil && !state.Whole {
		err = ErrBuilding
	}
	return err
}

// add reads a manifest, and reports whether it is new. One that is not held is not added, unless it
// was chosen: then that is an error.
func (f *finder) add(ctx context.Context, image *Image) (bool, error) {
	d := image.Digest
	if f.found[d] != nil {
		return false, nil
	}
	row, err := f.ImageRow(ctx, f.repo, d)
	if image.Part != Chosen && (errors.Is(err, core.ErrManifestUnknown) || errors.Is(err, core.ErrNameUnknown)) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	image.ImageRow = row
	for tag, err := range f.DigestTags(ctx, f.repo, d, "") {
		if err != nil {
			return false, err
		}
		image.Names = append(image.Names, tag)
		if f.tags++; f.tags > maxTags {
			return false, ErrTooMany
		}
	}
	image.content, err = f.ImageNames(ctx, f.repo, d)
	if err != nil {
		return false, err
	}
	if f.names += len(image.content); f.names > maxNames || len(f.order) == maxImages {
		return false, ErrTooMany
	}
	f.found[d] = image
	f.order = append(f.order, image)
	return true, nil
}

// follow adds the manifests that an image names, and those that refer to it.
func (f *finder) follow(ctx context.Context, image *Image) error {
	for _, named := range image.content {
		if !named.Manifest || named.Digest == image.Subject {
			continue
		}
		part := &Image{ImageRow: core.ImageRow{Digest: named.Digest}, Part: Named, Of: image.Digest}
		for _, platform := range image.Platforms {
			if platform.Digest == named.Digest {
				part.Platform, part.Attests = platform.Platform, platform.Attests != ""
			}
		}
		if _, err := f.add(ctx, part); err != nil {
			return err
		}
	}
	for user, err := range f.UserRows(ctx, f.repo, image.Digest, "") {
		if err != nil {
			return err
		}
		if f.users++; f.users > maxUsers {
			return ErrTooMany
		}
		image.Users = append(image.Users, user.Digest)
		row, err := f.ImageRow(ctx, f.repo, user.Digest)
		if errors.Is(err, core.ErrManifestUnknown) || errors.Is(err, core.ErrNameUnknown) {
			continue // deleted meanwhile
		} else if err != nil {
			return err
		}
		if row.Subject == image.Digest {
			if _, err := f.add(ctx, &Image{ImageRow: row, Part: Refers, Of: image.Digest}); err != nil {
				return err
			}
		}
	}
	return f.attachments(ctx, image)
}

// unlisted finds out whether Users are all that name a manifest. See core.Unlisted.
func (f *finder) unlisted(ctx context.Context) error {
	for user, err := range f.UserRows(ctx, f.repo, core.Unlisted, "") {
		if err != nil {
			return err
		}
		if one := f.found[user.Digest]; one == nil || one.Part != Chosen {
			f.vague = true
			return nil
		}
	}
	return nil
}

// stays returns the manifests that something keeps: a tag, or a manifest that stays by naming them,
// by being their subject or by having them attached. The chosen ones keep nothing and go whatever keeps them. Where it is not
// known what keeps them, all others stay.
func (f *finder) stays() map[digest.Digest]bool {
	kept := map[digest.Digest]bool{}
	var pending []*Image
	keep := func(image *Image) {
		if image != nil && image.Part != Chosen && !kept[image.Digest] {
			kept[image.Digest] = true
			pending = append(pending, image)
		}
	}
	for _, image := range f.order {
		if f.vague || f.tagged(image) || f.outside(image) {
			keep(image)
		}
	}
	for len(pending) > 0 {
		image := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		for _, named := range image.content { // its subject is among it
			keep(f.found[named.Digest])
		}
		for _, user := range image.Users {
			if one := f.found[user]; one != nil && one.Subject == image.Digest {
				keep(one)
			}
		}
		for _, one := range image.attached {
			keep(one)
		}
	}
	return kept
}

// Tags returns the tags that go, in the order of their images.
func (p *Plan) Tags() (tags []string) {
	for _, image := range p.Goes {
		tags = append(tags, image.Names...)
	}
	return tags
}

// Key is the same for two plans that remove the same.
func (p *Plan) Key() string {
	hash := sha256.New()
	fmt.Fprintf(hash, "images %s\n", p.Repo)
	for _, image := range p.Goes {
		fmt.Fprintf(hash, "%s %q\n", image.Digest, image.Names)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// Delete removes what goes, and returns which manifests went before an error ended it. Those that
// somebody else has removed are among them. A manifest goes before its parts, and a subject before
// what refers to it, so that at each moment what stays is whole, except what Within has. Errors:
// core.ErrChanged if something got another tag or user since the plan was made, and those of
// core.Deleter.
func (p *Plan) Delete(ctx context.Context, r core.Deleter) (went []*Image, err error) {
	var crowded []digest.Digest // they go too, so they may name anything
	for _, image := range p.Goes {
		if image.crowded() {
			crowded = append(crowded, image.Digest)
		}
	}
	for _, image := range order(p.Goes) {
		expected := core.Expected{Tags: image.Names}
		if image.Part != Chosen {
			expected.Users = append(append([]digest.Digest{}, image.Users...), crowded...) // never nil
		}
		err := r.DeleteManifest(core.WithExpected(ctx, expected), p.Repo, image.Digest)
		gone := len(went) > 0 && (errors.Is(err, core.ErrManifestUnknown) || errors.Is(err, core.ErrNameUnknown))
		if err != nil && !gone {
			return went, err
		}
		went = append(went, image)
	}
	return went, nil
}

// Empty deletes manifests of a repository that were pushed before a moment, the newest first, at
// most most of them and none after until. It returns how many, and whether it ended early. Errors:
// ErrBuilding, those of core.Deleter.
func Empty(ctx context.Context, r core.Registry, repo string, before time.Time, most int, until time.Time) (done int, more bool, err error) {
	if err := whole(ctx, r); err != nil {
		return 0, false, err
	}
	const batch = 100
	for after, more := "", true; more; {
		var rows []core.ImageRow
		more = false
		for row, err := range r.ImageRows(ctx, repo, after) {
			if errors.Is(err, core.ErrNameUnknown) && done > 0 {
				return done, false, nil // the last one has gone
			} else if err != nil {
				return done, false, err
			}
			if more = len(rows) == batch; more {
				break
			}
			rows = append(rows, row)
			after = row.At
		}
		for _, row := range rows {
			if row.Pushed.After(before) {
				continue
			}
			if done == most || time.Now().After(until) {
				return done, true, nil
			}
			err := r.DeleteManifest(ctx, repo, row.Digest)
			if errors.Is(err, core.ErrManifestUnknown) || errors.Is(err, core.ErrNameUnknown) {
				continue // somebody else was faster
			} else if err != nil {
				return done, true, err
			}
			done++
		}
	}
	return done, false, nil
}
