package importing

import (
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/transfer"
)

// A person sees what needs attention, and not the rest.
func TestThePrinterNamesWhatNeedsAttention(t *testing.T) {
	for _, row := range []struct {
		name string
		item transfer.Item
		want string
	}{
		{"an image", transfer.Item{Source: "a", Reference: "v1", Outcome: transfer.Imported}, ""},
		{"an image that was left out", transfer.Item{Source: "a", Reference: "v1", Outcome: transfer.LeftOut, Reason: "it is damaged"}, "LEFT OUT a:v1: it is damaged\n"},
		{"one that was skipped", transfer.Item{Source: "a", Reference: "v1", Outcome: transfer.Skipped, Reason: "it was deleted"}, "skipped a:v1: it was deleted\n"},
		{"an index without some platforms", transfer.Item{Source: "a", Reference: "v1", Outcome: transfer.Imported, Absent: 2}, "incomplete a:v1: it lists 2 manifests that are not there\n"},
	} {
		var out strings.Builder
		p := &Printer{Out: &out}
		p.Item(row.item)
		if out.String() != row.want {
			t.Errorf("%s: printed %q, want %q", row.name, out.String(), row.want)
		}
	}
}
