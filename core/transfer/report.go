package transfer

import "github.com/opencontainers/go-digest"

// Outcome is the result for an item.
type Outcome string

const (
	// Imported items are here now; in a dry run they would be.
	Imported Outcome = "imported"
	// Unchanged items were here before.
	Unchanged Outcome = "unchanged"
	// Skipped items are left alone on purpose: a decision was made here that the import keeps.
	Skipped Outcome = "skipped"
	// NotServed items belong to a mirror whose upstream does not show them to anonymous callers.
	// The mirror does not serve them either.
	NotServed Outcome = "not_served"
	// LeftOut items are damaged, missing, or not accepted by any registry, or their upstream
	// cannot be asked.
	LeftOut Outcome = "left_out"
)

// Item is one tag, one manifest without a tag, or a repository that was not read.
type Item struct {
	// Source is the repository in the source.
	Source string `json:"source"`
	// Repository is its name here; empty: the repository was not read.
	Repository string `json:"repository,omitempty"`
	// Reference is the tag, or the digest of a manifest without a tag.
	Reference string        `json:"reference,omitempty"`
	Digest    digest.Digest `json:"digest,omitempty"`
	Outcome   Outcome       `json:"outcome"`
	// Reason is why it was skipped, is not served, or was left out.
	Reason string `json:"reason,omitempty"`
	// Absent is how many of the manifests that an index lists the source does not hold.
	// The index is imported without them.
	Absent int `json:"absent,omitempty"`
}

// Summary counts the items of an import, and what was copied for them.
type Summary struct {
	Repositories int `json:"repositories"` // that were read and have images
	Found        int `json:"found"`        // items: the sum of the next five
	Imported     int `json:"imported"`
	Unchanged    int `json:"unchanged"`
	Skipped      int `json:"skipped"`
	NotServed    int `json:"not_served"`
	LeftOut      int `json:"left_out"`
	// Blobs and Bytes were copied, and Shared blobs were here already for another
	// repository. In a dry run: would be, each counted for every repository; whether a layer can
	// be linked or cloned is not tried.
	Blobs  int   `json:"blobs"`
	Bytes  int64 `json:"bytes"`
	Shared int   `json:"shared"`
	// Linked layers are files of the source under another name, and Cloned ones share its blocks.
	// Saved is the number of bytes in both that were not copied.
	Linked int   `json:"linked"`
	Cloned int   `json:"cloned"`
	Saved  int64 `json:"bytes_saved"`
}

func (s *Summary) count(item Item) {
	s.Found++
	switch item.Outcome {
	case Imported:
		s.Imported++
	case Unchanged:
		s.Unchanged++
	case Skipped:
		s.Skipped++
	case NotServed:
		s.NotServed++
	default:
		s.LeftOut++
	}
}
