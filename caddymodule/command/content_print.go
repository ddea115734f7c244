package command

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/core"
)

// printer prints answers as tables for people.
type printer struct {
	table  *tabwriter.Writer
	headed bool // the table has its first line already
}

func newPrinter(w io.Writer) *printer {
	return &printer{table: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
}

func (p *printer) flush() { p.table.Flush() }

// row prints the cells of a row, without spaces at its end. Text of images can hold anything.
func (p *printer) row(cells ...string) {
	for len(cells) > 1 && cells[len(cells)-1] == "" {
		cells = cells[:len(cells)-1]
	}
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	fmt.Fprintln(p.table, strings.Join(cells, "\t"))
}

func (p *printer) head(cells ...string) {
	if !p.headed {
		p.row(cells...)
		p.headed = true
	}
}

// printable replaces what a terminal would not show as it is, such as escape sequences and marks of
// the direction of text.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// moment is a time in UTC, to the minute.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

func size(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

// short is a digest with 12 digits, which ls finds.
func short(d digest.Digest) string {
	algorithm, digits, _ := strings.Cut(string(d), ":")
	return algorithm + ":" + digits[:min(12, len(digits))]
}

// found prints what ls lists, and returns how many rows there are.
func (p *printer) found(page *api.List) int {
	for _, r := range page.Repositories {
		p.head("REPOSITORY", "KIND", "TAGS", "SIZE", "PUSHED", "PULLED")
		p.row(r.Name, r.Kind, humanize.Comma(r.Tags), size(r.Bytes), moment(r.Pushed), moment(r.Pulls.Last))
	}
	for _, t := range page.Tags {
		p.head("IMAGE", "DIGEST", "SINCE", "PULLED")
		p.row(t.Repository+":"+t.Name, short(t.Digest), moment(t.Since), moment(t.Pulls.Last))
	}
	for _, c := range page.Content {
		p.head("CONTENT", "SIZE", "HELD AS")
		p.row(c.Repository+"@"+string(c.Digest), size(c.Size), heldAs(c))
	}
	return len(page.Repositories) + len(page.Tags) + len(page.Content)
}

func heldAs(c api.Content) string {
	switch {
	case c.Manifest && c.Blob:
		return "manifest and blob"
	case c.Manifest:
		return "manifest"
	}
	return "blob"
}

// tags prints tags, and returns how many there are.
func (p *printer) tags(page *api.List) int {
	for _, t := range page.Tags {
		p.head("TAG", "DIGEST", "SIZE", "SINCE", "BY", "PULLED", "ALSO")
		bytes := "-"
		if t.Image != nil && t.Image.ContentSize > 0 {
			bytes = size(t.Image.ContentSize)
		}
		by := t.By
		if by == "" {
			by = "-"
		}
		p.row(t.Name, short(t.Digest), bytes, moment(t.Since), by, moment(t.Pulls.Last), andMore(t.Aliases, t.MoreAliases))
	}
	return len(page.Tags)
}

func andMore(names []string, more bool) string {
	text := strings.Join(names, ", ")
	if more {
		text += ", …"
	}
	return text
}

func (p *printer) pulls(pulls api.Pulls) {
	text := "never"
	if pulls.N > 0 || !pulls.Last.IsZero() {
		text = fmt.Sprintf("%s times, last %s", humanize.Comma(pulls.N), moment(pulls.Last)) + by(pulls.By)
	}
	p.row("pulled", text)
}

// repository describes a repository.
func (p *printer) repository(a *api.RepositoryAnswer) {
	r := a.Repository
	p.row("repository", r.Name+" ("+r.Kind+")")
	bytes := size(r.Bytes)
	if r.OnlyHere != nil {
		bytes += ", of which " + size(*r.OnlyHere) + " only here"
	}
	p.row("holds", fmt.Sprintf("%s tags, %s manifests, %s", humanize.Comma(r.Tags), humanize.Comma(r.Manifests), bytes))
	if r.Newest != "" {
		p.row("newest", r.Newest+" "+string(r.Digest))
	}
	p.row("pushed", moment(r.Pushed))
	p.pulls(r.Pulls)
	for _, right := range a.Rights {
		word := "no"
		if right.Allowed {
			word = "yes"
		}
		switch {
		case right.Rule != "" && right.Narrowed:
			word += ": " + right.Rule + ", but not with this key"
		case right.Rule != "":
			word += ": " + right.Rule
		}
		p.row("may "+right.Action, word)
	}
}

// image describes a tag or a manifest.
func (p *printer) image(a *api.ImageAnswer) {
	if a.Tag != nil {
		p.row("tag", a.Repository+":"+a.Tag.Name)
		p.row("since", moment(a.Tag.Since)+by(a.Tag.By))
		p.row("digest", string(a.Tag.Digest))
	}
	i := a.Image
	if i == nil {
		p.row("image", "not held")
		return
	}
	if a.Tag == nil {
		p.row("digest", string(i.Digest))
	}
	p.row("tags", andMore(i.Tags, i.MoreTags))
	if !i.Described {
		p.row("image", "not described yet")
		return
	}
	p.row("type", i.MediaType)
	if i.ArtifactType != "" {
		p.row("artifact", i.ArtifactType)
	}
	p.row("size", fmt.Sprintf("%s to pull, in %d layers; the manifest has %s", size(i.ContentSize), i.Layers, size(i.Size)))
	p.row("pushed", moment(i.Pushed)+by(i.By))
	if !i.Created.IsZero() {
		p.row("created", moment(i.Created))
	}
	p.pulls(i.Pulls)
	for _, platform := range i.Platforms {
		word := platform.Platform
		if platform.Attests != "" {
			word = "about " + short(platform.Attests)
		}
		p.row("platform", strings.TrimSpace(word+" "+string(platform.Digest)))
	}
	if i.Subject != "" {
		p.row("refers to", string(i.Subject))
	}
	for _, key := range slices.Sorted(maps.Keys(i.Annotations)) {
		p.row("annotation", key+": "+i.Annotations[key])
	}
	for _, named := range a.Names {
		p.row("names", string(named.Digest)+" "+namedAs(named))
	}
	for _, user := range a.Users {
		p.row("named by", string(user.Digest))
	}
	if a.MoreUsers {
		p.row("named by", "…")
	}
}

func namedAs(n api.Named) string {
	if !n.Held {
		return "not held"
	}
	text := size(n.Size)
	if n.SharedHere {
		text += ", shared here"
	}
	if n.Elsewhere {
		text += ", also elsewhere"
	}
	return text
}

func by(user string) string {
	if user == "" {
		return ""
	}
	return " by " + user
}

// deleted prints what went.
func (p *printer) deleted(d api.Deletion) {
	switch {
	case !d.Manifest:
		p.row(fmt.Sprintf("removed the tag %s:%s; it named %s", d.Repository, strings.Join(d.Tags, ", "), knownDigest(d.Digest)))
	case len(d.Tags) == 0:
		p.row(fmt.Sprintf("deleted %s@%s, which had no tag", d.Repository, d.Digest))
	default:
		p.row(fmt.Sprintf("deleted %s@%s with the tags %s", d.Repository, d.Digest, strings.Join(d.Tags, ", ")))
	}
	for _, with := range d.Manifests {
		if with != d.Digest {
			p.row("deleted with it " + string(with))
		}
	}
}

// plan prints what a deletion would remove.
func (p *printer) plan(a *api.PlanAnswer) {
	p.head("GOES", "DIGEST", "TAGS")
	for _, part := range a.Goes {
		p.row(partWord(part), string(part.Digest), strings.Join(part.Tags, ", "))
	}
	if len(a.Stays) > 0 {
		p.row("STAYS", "DIGEST", "TAGS")
	}
	for _, part := range a.Stays {
		p.row(partWord(part), string(part.Digest), strings.Join(part.Tags, ", "))
	}
	if len(a.Within) > 0 {
		p.row("WILL LACK IT", "DIGEST")
	}
	for _, d := range a.Within {
		p.row("image", string(d))
	}
	atMost := ""
	if a.AtMost {
		atMost = "at most "
	}
	p.row(fmt.Sprintf("manifests: %d, tags: %d; the collector can free %s%s", len(a.Goes), len(a.Tags), atMost, size(a.Bytes)))
}

// attachedWords say what a tag attaches to an image.
var attachedWords = map[core.Attached]string{
	core.AttachedSignature: "signature", core.AttachedAttestation: "attestation", core.AttachedSBOM: "SBOM",
	core.AttachedReferrers: "list of referrers",
}

// partWord is what a manifest of a plan is.
func partWord(part api.Part) string {
	switch {
	case part.Attached != "" && attachedWords[part.Attached] != "":
		return attachedWords[part.Attached]
	case part.Attests:
		return "attestation"
	case part.Platform != "":
		return part.Platform
	case part.Part == "refers" && part.ArtifactType != "":
		return part.ArtifactType
	case part.Part == "refers":
		return "artifact"
	}
	return "image"
}

func knownDigest(d digest.Digest) string {
	if d == "" {
		return "what could not be read"
	}
	return string(d)
}
