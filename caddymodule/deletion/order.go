package deletion

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// order returns what goes in the order of its deletion. Whatever ends that halfway, what stays is
// whole:
//
//   - A manifest is deleted after all that name it as a part, so that none that stays lacks a part.
//   - A subject is deleted before what refers to it, or is attached to it by a tag. A signature may
//     stay without its image, but no image stays without its signature.
//
// Both are impossible only if something that refers to a manifest also has it as a part, perhaps as
// a part of a part. No tool makes that; then parts count more. What is left to choose is as in goes,
// after the manifests that name more than the catalog lists, which may name any other.
func order(goes []*Image) []*Image {
	all := slices.Clone(goes)
	slices.SortStableFunc(all, func(a, b *Image) int {
		switch {
		case a.crowded() == b.crowded():
			return 0
		case a.crowded():
			return -1
		}
		return 1
	})
	at := map[digest.Digest]int{}
	for i, image := range all {
		at[image.Digest] = i
	}
	// wait counts what must be deleted before an image, and frees has what waits for it.
	type wait struct {
		whole, subjects int
		parts, referrer []int
	}
	waits := make([]wait, len(all))
	for i, image := range all {
		for _, named := range image.content {
			j, ok := at[named.Digest]
			switch {
			case !ok || j == i:
			case image.hasPart(named.Digest):
				waits[i].parts = append(waits[i].parts, j)
				waits[j].whole++
			default:
				waits[j].referrer = append(waits[j].referrer, i)
				waits[i].subjects++
			}
		}
		for _, one := range image.attached {
			if j, ok := at[one.Digest]; ok {
				waits[i].referrer = append(waits[i].referrer, j)
				waits[j].subjects++
			}
		}
	}
	ordered := make([]*Image, 0, len(all))
	done := make([]bool, len(all))
	// next finds the first image that waits for nothing, or else for no whole, or else any.
	next := func() int {
		first, unnamed := -1, -1
		for i := range waits {
			switch {
			case done[i]:
			case waits[i].whole == 0 && waits[i].subjects == 0:
				return i
			case waits[i].whole == 0 && unnamed < 0:
				unnamed = i
			case first < 0:
				first = i
			}
		}
		if unnamed >= 0 {
			return unnamed
		}
		return first
	}
	for range all {
		i := next()
		done[i] = true
		ordered = append(ordered, all[i])
		for _, j := range waits[i].parts {
			waits[j].whole--
		}
		for _, j := range waits[i].referrer {
			waits[j].subjects--
		}
	}
	return ordered
}

// crowded reports whether the image may name more than the catalog lists.
func (i *Image) crowded() bool { return len(i.content) >= core.MaxNamed }

// hasPart reports whether content that the image names is a part of it, and not only its subject.
func (i *Image) hasPart(d digest.Digest) bool {
	return d != i.Subject || slices.ContainsFunc(i.Platforms, func(p core.PlatformRow) bool { return p.Digest == d })
}
