package deletion_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/deletion"
	"github.com/eblume/caddy-registry/core"
)

// interrupted is a registry in which the deletion after so many others fails, or finds a new tag.
type interrupted struct {
	*registry
	after int
	tag   bool
	asked []digest.Digest
}

var errInterrupted = errors.New("interrupted")

func (i *interrupted) DeleteManifest(ctx context.Context, repo string, d digest.Digest) error {
	if len(i.asked) == i.after && !i.tag {
		return errInterrupted
	}
	if len(i.asked) == i.after {
		m, err := i.Manifest(ctx, repo, core.Reference{Digest: d})
		i.must(err)
		_, err = i.PutManifest(ctx, repo, core.ManifestPut{MediaType: m.Descriptor.MediaType, Bytes: m.Bytes, Tags: []string{"meanwhile"}})
		i.must(err)
	}
	i.asked = append(i.asked, d)
	return i.Store.DeleteManifest(ctx, repo, d)
}

// relation is what a manifest names, or is attached to by a tag as to a subject.
type relation struct {
	of, to  digest.Digest
	subject bool
}

// relations returns the relations of the manifests that the repository holds.
func (r *registry) relations() (all map[relation]bool) {
	r.Helper()
	all = map[relation]bool{}
	held := map[digest.Digest]bool{}
	for row, err := range r.ImageRows(r.Context(), repo, "") {
		r.must(err)
		held[row.Digest] = true
	}
	for d := range held {
		m, err := r.Manifest(r.Context(), repo, core.Reference{Digest: d})
		r.must(err)
		var named struct {
			Subject   *core.Descriptor
			Manifests []core.Descriptor
		}
		r.must(json.Unmarshal(m.Bytes, &named))
		if named.Subject != nil {
			all[relation{d, named.Subject.Digest, true}] = true
		}
		for _, part := range named.Manifests {
			all[relation{d, part.Digest, false}] = true
		}
		for _, tag := range core.AttachedTags(d) {
			if row, err := r.TagRow(r.Context(), repo, tag.Name); err == nil {
				all[relation{row.Digest, d, true}] = true
			}
		}
	}
	for one := range all {
		if !held[one.to] || !held[one.of] {
			delete(all, one)
		}
	}
	return all
}

// stops deletes what push returns again and again, and ends at each step once by a failure and once
// by a change. broken is called with the relations that an interruption cut: those of a manifest that
// stays and has lost a part, and of a subject that stays and has lost what refers to it.
func (r *registry) stops(push func() []core.Descriptor, broken func(within []digest.Digest, cut relation)) {
	r.Helper()
	for _, tag := range []bool{false, true} {
		for after, ended := 0, false; !ended; after++ {
			chosen := push()
			p := r.plan(chosen...)
			before := r.relations()
			interruption := &interrupted{registry: r, after: after, tag: tag}
			went, err := p.Delete(r.Context(), interruption)
			switch {
			case after >= len(p.Goes):
				ended = true
				r.must(err)
			case len(went) != after || !tag && !errors.Is(err, errInterrupted) || tag && !errors.Is(err, core.ErrChanged):
				r.Fatalf("step %d: %d went, %v", after, len(went), err)
			}
			held := map[digest.Digest]bool{}
			for row, err := range r.ImageRows(r.Context(), repo, "") {
				if !errors.Is(err, core.ErrNameUnknown) {
					r.must(err)
					held[row.Digest] = true
				}
			}
			for _, image := range p.Goes {
				if held[image.Digest] == slices.Contains(went, image) {
					r.Errorf("step %d: %s went %v, and is held %v", after, image.Digest, !held[image.Digest], held[image.Digest])
				}
			}
			for one := range before {
				if held[one.of] && !held[one.to] && !one.subject || held[one.to] && !held[one.of] && one.subject {
					broken(p.Within, one)
				}
			}
			if tag && !ended {
				r.must(r.DeleteTag(r.Context(), repo, "meanwhile"))
			}
			if ended != (after == len(p.Goes)) || after > 100 {
				r.Fatalf("step %d of %d", after, len(p.Goes))
			}
		}
	}
}

// Wherever a deletion ends, no index that stays lacks a platform, and no image its signature.
func TestWhatStaysIsWhole(t *testing.T) {
	r := newRegistry(t)
	r.stops(func() []core.Descriptor {
		amd, arm, s390 := r.image(repo, nil, []string{"amd64"}), r.image(repo, nil, []string{"arm64"}), r.image(repo, nil, []string{"s390x"})
		nested := r.indexOf([]core.Descriptor{amd, arm})
		inner := r.indexOf([]core.Descriptor{nested, s390})
		// A breadth-first order has amd and s390 before nested.
		chosen := r.indexOf([]core.Descriptor{amd, s390, inner}, "v1")
		sbom := r.image(repo, &chosen, []string{"sbom"})
		r.image(repo, &sbom, []string{"signature of the sbom"})
		r.image(repo, &amd, []string{"signature of amd64"})
		r.image(repo, &nested, []string{"signature of the nested"})
		r.image(repo, nil, []string{"something else"}, "other")
		return []core.Descriptor{chosen}
	}, func(within []digest.Digest, cut relation) { t.Errorf("%+v was cut", cut) })
}

// The same with images that come about by chance, of which some are chosen that others have as parts.
func TestWhatStaysIsWholeByChance(t *testing.T) {
	for seed := range uint64(8) {
		r := newRegistry(t)
		var chosen []core.Descriptor
		push := func() []core.Descriptor {
			random := rand.New(rand.NewPCG(seed, seed))
			some := func(all []core.Descriptor) core.Descriptor { return all[random.IntN(len(all))] }
			all := []core.Descriptor{r.image(repo, nil, []string{"first"})}
			for range 9 {
				var tags []string
				if random.IntN(6) == 0 {
					tags = []string{"v" + digest.FromString(string(rune(random.IntN(100)))).Encoded()[:8]}
				}
				switch subject := some(all); random.IntN(4) {
				case 0, 1:
					all = append(all, r.indexOf([]core.Descriptor{some(all), some(all)}, tags...))
				case 2:
					all = append(all, r.image(repo, &subject, []string{"refers"}, tags...))
				default:
					all = append(all, r.image(repo, nil, []string{string(rune('a' + random.IntN(26)))}, tags...))
				}
			}
			chosen = []core.Descriptor{some(all), some(all)}
			return chosen
		}
		r.stops(push, func(within []digest.Digest, cut relation) {
			said := slices.Contains(within, cut.of)
			if cut.subject { // the signature itself was chosen
				said = slices.ContainsFunc(chosen, func(d core.Descriptor) bool { return d.Digest == cut.of })
			}
			if !said {
				t.Errorf("seed %d: %+v was cut", seed, cut)
			}
		})
	}
}

// Z refers to Y and has X as a part, of which Y is one. No order is right; parts count more.
func TestACircleOfReferencesEnds(t *testing.T) {
	r := newRegistry(t)
	var orders [][]digest.Digest
	r.stops(func() []core.Descriptor {
		y := r.image(repo, nil, []string{"y"})
		x := r.indexOf([]core.Descriptor{y})
		z := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []core.Descriptor{x}, Subject: &y, ArtifactType: "application/vnd.example.z"}
		r.put(repo, z.MediaType, z)
		r.image(repo, &y, []string{"signature of y"})
		return []core.Descriptor{y, x}
	}, func(within []digest.Digest, cut relation) {
		if !cut.subject {
			t.Errorf("%+v was cut", cut)
		}
	})
	for range 5 {
		y := r.image(repo, nil, []string{"y"})
		x := r.indexOf([]core.Descriptor{y})
		z := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []core.Descriptor{x}, Subject: &y, ArtifactType: "application/vnd.example.z"}
		r.put(repo, z.MediaType, z)
		p := r.plan(y)
		if p.Goes[0].Digest != y.Digest {
			t.Errorf("%s is shown first, and %s was chosen", p.Goes[0].Digest, y.Digest)
		}
		went, err := p.Delete(t.Context(), r)
		r.must(err)
		orders = append(orders, digestsOf(went))
		if !slices.Equal(orders[0], orders[len(orders)-1]) || len(went) != 3 {
			t.Errorf("got the order %v after %v", digestsOf(went), orders[0])
		}
	}
}

// A signature that a chosen index has among its parts stays while its subject does.
func TestASubjectKeepsWhatRefersToIt(t *testing.T) {
	r := newRegistry(t)
	subject := r.image(repo, nil, []string{"image"}, "v1")
	signature := r.image(repo, &subject, []string{"signature"})
	chosen := r.indexOf([]core.Descriptor{signature}, "list")
	p := r.plan(chosen)
	wantDigests(t, "goes", digestsOf(p.Goes), chosen)
	wantDigests(t, "stays", digestsOf(p.Stays), signature)
}

// Manifests that somebody else deletes meanwhile count as gone, but not the first: then it is not known
// any more what the plan was about.
func TestWhatOthersDeletedMeanwhileCounts(t *testing.T) {
	r := newRegistry(t)
	push := func() (p *deletion.Plan, index, first core.Descriptor) {
		first = r.image(repo, nil, []string{"one"})
		index = r.indexOf([]core.Descriptor{first, r.image(repo, nil, []string{"two"})}, "v1")
		return r.plan(index), index, first
	}
	p, _, first := push()
	r.must(r.DeleteManifest(t.Context(), repo, first.Digest))
	if went, err := p.Delete(t.Context(), r); len(went) != 3 || err != nil {
		t.Errorf("a part: deleted %d, %v", len(went), err)
	}
	p, index, _ := push()
	r.must(r.DeleteManifest(t.Context(), repo, index.Digest))
	if went, err := p.Delete(t.Context(), r); len(went) != 0 || !errors.Is(err, core.ErrManifestUnknown) {
		t.Errorf("the chosen one: deleted %d, %v", len(went), err)
	}
}
