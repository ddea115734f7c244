package control

import (
	"time"

	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/usage"
	"github.com/eblume/caddy-registry/core/verify"
)

// Condition is what an open storage reports about itself.
type Condition struct {
	Process    int                    `json:"process"`
	Instance   string                 `json:"instance"` // of the process
	MirrorsDir string                 `json:"mirrors_dir"`
	Usage      map[string][]usage.Use `json:"usage"` // by configured mirror
	Held       map[string]int64       `json:"held"`  // bytes by mirror; none before the first look
	Gone       map[string]GoneTags    `json:"gone"`  // by mirror
	// Damaged are records of identity, each with what to do about it.
	Damaged []string `json:"damaged,omitempty"`
	// Keys are those that end soon or have ended, and were not revoked.
	Keys []EndingKey `json:"keys,omitempty"`
	// Quarantine is what is in quarantine, by tree, and Verified when everything was last
	// read; zero: never.
	Quarantine map[string]verify.Amount `json:"quarantine,omitempty"`
	Verified   time.Time                `json:"verified,omitzero"`
	// Quarantined are some digests of what is in quarantine, and Records what is wrong with
	// records of tags, referrers and manifests, by tree.
	Quarantined []string           `json:"quarantined,omitempty"`
	Records     map[string]Records `json:"records,omitempty"`
	// Learned is what the process knows of each mirror's upstream.
	Learned map[string][]upstream.Learned `json:"learned,omitempty"`
	// Samples are a held repository of each mirror, to ask the upstream for.
	Samples map[string]string `json:"samples"`
}

// GoneTags counts tags that a mirror serves on although its upstream has deleted them.
type GoneTags struct {
	Tags int  `json:"tags"`
	More bool `json:"more,omitempty"` // there may be more
}

// EndingKey is an API key that ends soon or has ended.
type EndingKey struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	User    string    `json:"user"`
	Expires time.Time `json:"expires"`
}

// Records counts the records of tags, referrers and manifests of a tree that were examined.
type Records struct {
	Looked int      `json:"looked"`
	More   bool     `json:"more,omitempty"` // there was no time for all of them
	Wrong  int      `json:"wrong"`
	Named  []string `json:"named,omitempty"` // the first of the wrong ones
}
