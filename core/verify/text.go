package verify

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
)

// Write writes the report for a person.
func (r *Report) Write(w io.Writer) error {
	t := &text{w: w}
	for _, tree := range slices.Sorted(maps.Keys(r.Read)) {
		read := r.Read[tree]
		t.line("%s: read %s of %d objects; %d manifests; %d records of tags and referrers",
			tree, size(read.Bytes), read.Objects, read.Manifests, read.Records)
	}
	for _, f := range r.Damaged {
		t.finding(f)
	}
	for _, a := range r.Absent {
		t.line("note: index %s of %s lists %s, which is not here; it may have been pushed without it", a.Index, a.Repository, a.Digest)
	}
	for _, trouble := range r.Trouble {
		t.line("could not be read: %s: %s: %s", trouble.Tree, trouble.What, trouble.Error)
	}
	if more := r.Found.Damaged - len(r.Damaged) + r.Found.Absent - len(r.Absent) + r.Found.Trouble - len(r.Trouble); more > 0 {
		t.line("%d more are not listed", more)
	}
	for _, tree := range slices.Sorted(maps.Keys(r.Quarantine)) {
		if in := r.Quarantine[tree]; in.Objects > 0 {
			t.line("%s: the quarantine has %d objects, %s", tree, in.Objects, size(in.Bytes))
		}
	}
	if r.Found.Damaged == 0 && r.Found.Trouble == 0 {
		t.line("no damage was found")
	}
	return t.err
}

// text writes lines until there is an error.
type text struct {
	w   io.Writer
	err error
}

func (t *text) line(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format+"\n", args...)
	}
}

func (t *text) finding(f *Finding) {
	switch {
	case f.Kind == KindRecord:
		t.line("damaged: a record in %s: %s", f.Tree, f.Problem)
	case f.Kind == KindMissing:
		t.line("missing: %s in %s: %s", f.Digest, f.Tree, f.Problem)
	case f.Quarantined:
		t.line("damaged: %s in %s (%s): %s; it was moved to the quarantine", f.Digest, f.Tree, size(f.Size), f.Problem)
	default:
		t.line("damaged: %s in %s (%s): %s", f.Digest, f.Tree, size(f.Size), f.Problem)
	}
	for _, image := range f.Images {
		t.line("    %s%s", image.Repository, image.parts())
	}
}

// parts names the manifests and tags of a repository that are hit.
func (i *Image) parts() string {
	var parts []string
	if len(i.Tags) > 0 {
		parts = append(parts, "tags "+strings.Join(i.Tags, ", "))
	}
	if len(i.Manifests) > 0 {
		names := make([]string, len(i.Manifests))
		for n, d := range i.Manifests {
			names[n] = string(d)
		}
		parts = append(parts, "manifests "+strings.Join(names, ", "))
	}
	if parts == nil {
		return ""
	}
	return ": " + strings.Join(parts, "; ")
}

func size(bytes int64) string { return humanize.IBytes(uint64(max(bytes, 0))) }
