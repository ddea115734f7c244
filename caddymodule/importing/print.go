package importing

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/transfer"
)

// progressEvery is the least time between two lines of progress, which replace each other.
const progressEvery = 200 * time.Millisecond

// Read reads an answer, and calls report for each item. Errors: those of r, and an answer
// that ends without a result.
func Read(r io.Reader, report func(transfer.Item)) (Result, error) {
	for decoder := json.NewDecoder(r); ; {
		var next line
		switch err := decoder.Decode(&next); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return Result{}, errors.New("the import was interrupted, as by a stop of the registry; import again to go on")
		case err != nil:
			return Result{}, err
		case next.Result != nil:
			return *next.Result, nil
		}
		report(next.Item)
	}
}

// Printer prints an answer for a person: what was not imported, and the summary.
type Printer struct {
	Out io.Writer
	// Progress is a terminal, or nil.
	Progress io.Writer

	found int
	last  time.Time
}

// Item prints an item that somebody has to know of.
func (p *Printer) Item(item transfer.Item) {
	p.found++
	if verb := attention[item.Outcome]; verb != "" {
		p.clear()
		fmt.Fprintf(p.Out, "%s %s: %s\n", verb, name(item), item.Reason)
	}
	if item.Absent > 0 {
		p.clear()
		fmt.Fprintf(p.Out, "incomplete %s: it lists %d manifests that are not there\n", name(item), item.Absent)
	}
	if p.Progress != nil && time.Since(p.last) >= progressEvery {
		p.last = time.Now()
		fmt.Fprintf(p.Progress, "\r\x1b[K%d tags and manifests, now in %s", p.found, item.Source)
	}
}

// attention has the words for outcomes that somebody has to know of.
var attention = map[transfer.Outcome]string{
	transfer.Skipped: "skipped", transfer.NotServed: "not served", transfer.LeftOut: "LEFT OUT",
}

// name is how people write a reference. What a directory is called may hold anything.
func name(item transfer.Item) string {
	reference := item.Reference
	switch {
	case reference == "":
		return fmt.Sprintf("%q", item.Source)
	case reference == string(item.Digest):
		return fmt.Sprintf("%s@%s", item.Source, reference)
	}
	if _, err := core.ParseTag(reference); err != nil {
		reference = fmt.Sprintf("%.128q", reference)
	}
	return item.Source + ":" + reference
}

func (p *Printer) clear() {
	if p.Progress != nil && !p.last.IsZero() {
		fmt.Fprint(p.Progress, "\r\x1b[K")
	}
}

// Result prints the summary.
func (p *Printer) Result(r Result) {
	p.clear()
	s, verb := r.Summary, "imported"
	if r.DryRun {
		verb = "would be imported"
	}
	fmt.Fprintf(p.Out, "%d repositories: %d tags and untagged manifests found, %d %s, %d unchanged, %d skipped, %d not served, %d left out\n",
		s.Repositories, s.Found, s.Imported, verb, s.Unchanged, s.Skipped, s.NotServed, s.LeftOut)
	fmt.Fprintf(p.Out, "%d blobs of %s copied, %d shared with repositories that hold them\n",
		s.Blobs, humanize.IBytes(uint64(s.Bytes)), s.Shared)
	if s.Linked+s.Cloned > 0 {
		fmt.Fprintf(p.Out, "%d layers linked and %d cloned from zot's files: %s not copied\n",
			s.Linked, s.Cloned, humanize.IBytes(uint64(s.Saved)))
	}
	for _, key := range r.Keys {
		fmt.Fprintf(p.Out, "API key %.100q of %.100q: ", key.Label, key.Owner)
		switch key.Outcome {
		case transfer.Imported:
			fmt.Fprintf(p.Out, "%s as %s, expires on %s\n", verb, key.ID, key.Expires.Format(time.DateOnly))
		case transfer.Unchanged, transfer.Skipped:
			fmt.Fprintln(p.Out, key.Reason)
		default:
			fmt.Fprintf(p.Out, "LEFT OUT: %s\n", key.Reason)
		}
	}
	for i, line := range r.Advice {
		if i == 0 {
			fmt.Fprintln(p.Out, "\nZot's configuration has more than the Caddyfile of this registry. Nothing was changed there.")
		}
		fmt.Fprintf(p.Out, "- %s\n", line)
	}
}
