package powercut

import (
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
)

// After a power cut, the answered operations, and any of those that had begun, may be visible.
func TestLedgerAsOf(t *testing.T) {
	now := 0
	l := NewLedger(func() int { return now })
	tag, blob := tagName("app", "latest"), blobName("app", "sha256:b")
	for _, step := range []struct {
		at int
		do func()
	}{
		{10, func() { l.try(tag, "sha256:1") }},
		{20, func() { l.acknowledge(tag, "sha256:1") }},
		{30, func() { l.try(tag, "sha256:2"); l.acknowledge(blob, "") }},
		{40, func() { l.acknowledge(tag, "sha256:2"); l.forget(blob) }},
	} {
		now = step.at
		step.do()
	}
	tests := []struct {
		at        int
		tag, blob []digest.Digest
	}{
		{9, nil, nil},
		{10, []digest.Digest{"", "sha256:1"}, nil},
		{19, []digest.Digest{"", "sha256:1"}, nil},
		{20, []digest.Digest{"sha256:1"}, nil},
		{30, []digest.Digest{"sha256:1", "sha256:2"}, []digest.Digest{""}},
		{40, []digest.Digest{"sha256:2"}, nil},
	}
	for _, tt := range tests {
		then := l.AsOf(tt.at)
		if got := then.names[tag]; !slices.Equal(got, tt.tag) {
			t.Errorf("at %d the tag is one of %q, want %q", tt.at, got, tt.tag)
		}
		if got := then.names[blob]; !slices.Equal(got, tt.blob) {
			t.Errorf("at %d the blob is one of %q, want %q", tt.at, got, tt.blob)
		}
	}
}
