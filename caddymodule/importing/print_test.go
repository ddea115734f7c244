package importing

import (
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/transfer"
)

// The summary says what was not copied, if there is anything.
func TestThePrinterSaysHowManyLayersAreShared(t *testing.T) {
	const want = "2 layers linked and 1 cloned from zot's files: 3.0 MiB not copied\n"
	for _, row := range []struct {
		summary transfer.Summary
		want    bool
	}{
		{transfer.Summary{Linked: 2, Cloned: 1, Saved: 3 << 20}, true},
		{transfer.Summary{Blobs: 2, Bytes: 3 << 20}, false},
	} {
		var out strings.Builder
		(&Printer{Out: &out}).Result(Result{Summary: row.summary})
		if strings.Contains(out.String(), want) != row.want || !row.want && strings.Contains(out.String(), "linked") {
			t.Errorf("of %+v it printed %q", row.summary, out.String())
		}
	}
}

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
		{"one that is not served", transfer.Item{Source: "a", Reference: "v1", Outcome: transfer.NotServed, Reason: "it is gone there"}, "not served a:v1: it is gone there\n"},
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

// An advice stands behind the sums, and only if there is one.
func TestThePrinterShowsAnAdvice(t *testing.T) {
	for _, advice := range [][]string{nil, {"Add `mirror quay.io`.", "Add more."}} {
		var out strings.Builder
		(&Printer{Out: &out}).Result(Result{Advice: advice})
		want := ""
		if len(advice) > 0 {
			want = "\nZot's configuration has more than the Caddyfile of this registry. Nothing was changed there.\n- Add `mirror quay.io`.\n- Add more.\n"
		}
		if _, got, _ := strings.Cut(out.String(), "that hold them\n"); got != want {
			t.Errorf("printed %q, want %q", got, want)
		}
	}
}
