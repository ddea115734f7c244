package pages

import (
	"context"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// maxRefers bounds the manifests that a page names as referring to an image.
const maxRefers = 20

// refer is a manifest that names an image.
type refer struct {
	What   string // what it is, as its type says
	Type   string
	Digest digest.Digest
	Of     string // the platform that it is about, if not the whole image
	Held   bool
}

// artifactWords are words in the types of artifacts, and what they are. The first that matches counts.
var artifactWords = []struct{ word, what string }{
	{"cosign", "Signature"}, {"sigstore", "Signature"}, {"notary", "Signature"}, {"signature", "Signature"},
	{"spdx", "SBOM"}, {"cyclonedx", "SBOM"}, {"syft", "SBOM"}, {"sbom", "SBOM"},
	{"slsa", "Provenance"}, {"in-toto", "Attestation"}, {"attestation", "Attestation"}, {"openvex", "VEX"},
	{"helm.chart.provenance", "Provenance"},
}

// artifactName is what a type of an artifact means.
func artifactName(mediaType string) string {
	for _, a := range artifactWords {
		if strings.Contains(strings.ToLower(mediaType), a.word) {
			return a.what
		}
	}
	return kindArtifact
}

// attachedNames say what a tag attaches to an image.
var attachedNames = map[core.Attached]string{
	core.AttachedSignature: "Signature", core.AttachedAttestation: "Attestation", core.AttachedSBOM: "SBOM", core.AttachedReferrers: "List of referrers",
}

// attached finds what tags of cosign attach to d, besides what is known to refer to it.
func (s *Site) attached(ctx context.Context, repo string, d digest.Digest, known []refer) (found []refer, err error) {
	for _, tag := range core.AttachedTags(d) {
		if tag.What == core.AttachedReferrers {
			continue // what it lists refers to d
		}
		row, err := s.Registry.TagRow(ctx, repo, tag.Name)
		if notHeld(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		if tag.Attaches(d, row) && !slices.ContainsFunc(known, func(one refer) bool { return one.Digest == row.Digest }) {
			found = append(found, refer{What: attachedNames[tag.What], Type: "attached by a tag of cosign", Digest: row.Digest, Held: true})
		}
	}
	return found, nil
}

// refers finds the manifests that refer to d or are attached to it, and the indexes that have it.
func (s *Site) refers(ctx context.Context, repo string, d digest.Digest, row core.ImageRow) (about, within []refer, more bool, err error) {
	for _, p := range row.Platforms {
		if p.Attests == "" || len(about) == maxRefers {
			continue
		}
		one := refer{What: "Attestation", Digest: p.Digest}
		for _, of := range row.Platforms {
			if of.Digest == p.Attests {
				one.Of = of.Platform
			}
		}
		_, err := s.Registry.ImageRow(ctx, repo, p.Digest)
		one.Held = err == nil
		about = append(about, one)
	}
	seen := 0
	for user, err := range s.Registry.UserRows(ctx, repo, d, "") {
		if err != nil {
			return nil, nil, false, err
		}
		if seen++; seen > maxRefers {
			more = true
			break
		}
		image, err := s.Registry.ImageRow(ctx, repo, user.Digest)
		if err != nil {
			continue // deleted meanwhile
		}
		if image.Subject == d {
			about = append(about, refer{What: artifactName(image.ArtifactType), Type: image.ArtifactType, Digest: user.Digest, Held: true})
			continue
		}
		within = append(within, refer{What: nameOf(image), Digest: user.Digest, Held: true})
	}
	attached, err := s.attached(ctx, repo, d, about)
	return append(about, attached...), within, more, err
}

// nameOf is a tag of an image, or what it is.
func nameOf(row core.ImageRow) string {
	if len(row.Tags) > 0 {
		return row.Tags[0]
	}
	return kindOf(row)
}
