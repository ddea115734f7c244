package control

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/store"
)

// Collected is what a collection removed from each tree, or would remove.
type Collected struct {
	Private store.Collected `json:"private"`
	Mirrors store.Collected `json:"mirrors"`
}

// GCReport is what `registry gc --json` prints, and what the control socket answers.
type GCReport struct {
	Collected
	DryRun bool `json:"dry_run"`
}

// PurgeReport is what `registry purge --json` prints, and what the control socket answers.
type PurgeReport struct {
	Repository string          `json:"repository"`
	Tags       []string        `json:"tags"`
	Manifests  []digest.Digest `json:"manifests"`
	Bytes      int64           `json:"bytes"` // of content that went from the disk
}

// ParseTarget reads what a command is about: <repository>[:<tag>|@<digest>]. Without a tag
// and a digest, ref is empty and means everything in the repository. Docker Hub's
// repositories are returned under their one canonical name.
func ParseTarget(text string) (repo string, ref core.Reference, err error) {
	name, d, byDigest := strings.Cut(text, "@")
	if byDigest {
		if ref.Digest, err = core.ParseDigest(d); err != nil {
			return "", ref, fmt.Errorf("%s: %w", text, err)
		}
	} else if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		if ref, err = core.ParseReference(name[colon+1:]); err != nil {
			return "", ref, fmt.Errorf("%s: %w", text, err)
		}
		name = name[:colon]
	}
	if repo, err = core.ParseName(name); err != nil {
		return "", ref, fmt.Errorf("%s: %w", text, err)
	}
	// A mirror's repository has one name, and Docker Hub's official images a second.
	first, rest, below := strings.Cut(repo, "/")
	if usual := namespace.AliasOf(first); usual != "" {
		first = usual
	}
	if below && first == namespace.DockerHub {
		repo = namespace.Mirrored(first, rest)
	}
	return repo, ref, nil
}
