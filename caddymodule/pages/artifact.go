package pages

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/artifacts"
	"github.com/eblume/caddy-registry/core"
)

const (
	// contentInk is how many bytes of a page the contents of files may take, and textInk each file of
	// a chart.
	contentInk = 24 << 10
	textInk    = 10 << 10
	// maxContents is how many files a page reads.
	maxContents = 4
)

// reading lets two files be read at once in the process, because each can take a second of the
// processor's time.
var reading = newTurns(2)

// file is a file of an artifact, on the page of its manifest.
type file struct {
	artifacts.File
	Title template.HTML
	// Address is where it can be downloaded.
	Address string
	Content *content // nil: it is not read
}

// content is what a file says, as a page shows it.
type content struct {
	Kind, Format string
	About        []pair
	Columns      []string
	Rows         [][]template.HTML
	Certificates []artifacts.Certificate
	Texts        []pair
	Cut          string
	// Find is what rows are searched for, and Of the file in which.
	Find           string
	Of             digest.Digest
	From, To       int64 // the rows that are shown, counted from 1
	Matched, Total int64
	First, Next    string
}

// asked is what the address of a page says of the contents.
type asked struct {
	of     digest.Digest
	window artifacts.Window
}

// ask reads the query of a page.
func ask(values url.Values) asked {
	a := asked{window: artifacts.Window{Rows: pageRows}}
	a.of, _ = core.ParseDigest(values.Get("of")) // of another, all files are shown
	a.window.Find = clip(values.Get("find"), maxFind)
	if from, err := strconv.Atoi(values.Get("row")); err == nil {
		a.window.From = max(0, min(from-1, artifacts.MaxRows))
	}
	return a
}

// maxFind bounds what is searched for in rows, in bytes.
const maxFind = 100

// clip cuts a text to n bytes.
func clip(s string, n int) string { return strings.ToValidUTF8(s[:min(n, len(s))], "") }

// artifact fills in the files of a manifest, if it is not that of an image. It reports whether it is
// not.
func (s *Site) artifact(ctx context.Context, p *imagePage, a asked, f reference, manifest []byte) (bool, error) {
	files, more := artifacts.Files(manifest)
	known := slices.ContainsFunc(files, func(f artifacts.File) bool { return artifacts.Reads(f.MediaType) })
	kind := kindOf(p.Shown)
	if len(files) == 0 || !known && !slices.Contains([]string{kindArtifact, kindChart, kindWasm}, kind) {
		return false, nil
	}
	k, inContents := &ink{historyInk}, &ink{contentInk}
	read := 0
	for _, one := range files {
		if k.dry() {
			more = true
			break
		}
		name := one.Name
		if name == "" {
			name = short(one.Digest)
		}
		shown := file{File: one, Title: k.text(name, false), Address: filePath(f.repo, p.Shown.Digest, one.Digest)}
		wanted := a.of == "" || a.of == one.Digest
		if wanted && read < maxContents && isRead(one) {
			read++
			window := artifacts.Window{Rows: pageRows}
			if a.of != "" {
				window = a.window
			}
			var err error
			if shown.Content, err = s.content(ctx, f, p.Chosen, one, window, inContents); err != nil {
				return true, err
			}
		}
		p.Lacks = p.Lacks || shown.Content != nil && shown.Content.Cut == notHere
		p.Files = append(p.Files, shown)
	}
	p.MoreFiles = more
	for _, one := range p.Files {
		if one.Content != nil && one.Content.Kind != "" {
			p.Kind = one.Content.Kind
			break
		}
	}
	return true, nil
}

// isRead reports whether pages show what is in a file.
func isRead(one artifacts.File) bool {
	return artifacts.Reads(one.MediaType) || len(one.Certificates) > 0
}

// content reads a file. platform is the one that was chosen, or empty.
func (s *Site) content(ctx context.Context, f reference, platform string, one artifacts.File, w artifacts.Window, k *ink) (*content, error) {
	said, err := s.read(ctx, f.repo, one, w)
	if err != nil {
		return nil, err
	}
	c := &content{
		Kind: said.Kind, Format: said.Format, Columns: said.Columns, Cut: said.Cut, Find: w.Find, Of: one.Digest,
		Matched: int64(said.Matched), Total: int64(said.Total), Certificates: append(one.Certificates, said.Certificates...),
	}
	if c.Kind == "" && len(c.Certificates) > 0 {
		c.Kind = artifacts.Signature
	}
	for _, field := range said.About {
		if k.dry() {
			break
		}
		c.About = append(c.About, pair{k.text(field.Name, false), k.text(field.Value, false)})
	}
	for _, text := range said.Texts {
		c.Texts = append(c.Texts, pair{template.HTML(template.HTMLEscapeString(text.Name)), rawText([]byte(text.Value), textInk)})
	}
	for _, row := range said.Rows {
		if k.dry() {
			break
		}
		var cells []template.HTML
		for _, text := range row {
			cells = append(cells, k.text(text, false))
		}
		c.Rows = append(c.Rows, cells)
	}
	address := func(from int64) string {
		values := url.Values{"of": {string(one.Digest)}}
		if platform != "" {
			values.Set("platform", platform)
		}
		if w.Find != "" {
			values.Set("find", w.Find)
		}
		if from > 0 {
			values.Set("row", strconv.FormatInt(from+1, 10))
		}
		return f.path() + "?" + values.Encode() + "#contents"
	}
	c.From, c.To = int64(w.From)+1, int64(w.From+len(c.Rows))
	if w.From > 0 {
		c.First = address(0)
	}
	if len(c.Rows) > 0 && c.To < c.Matched {
		c.Next = address(c.To)
	}
	return c, nil
}

// notHere is what is said of a file that is not held.
const notHere = "It is not held here."

// read reads a file that is held here. That it is not held, or too large, is said in its content.
func (s *Site) read(ctx context.Context, repo string, one artifacts.File, w artifacts.Window) (artifacts.Content, error) {
	if most := artifacts.Largest(one.MediaType); one.Size > most {
		return artifacts.Content{Cut: "It has " + size(one.Size) + ", and only files of up to " + size(most) + " are read. Download it."}, nil
	}
	end, err := s.take(ctx, reading)
	if errors.Is(err, errTurn) {
		return artifacts.Content{Cut: "Other files are being read. Load the page again in a moment."}, nil
	} else if err != nil {
		return artifacts.Content{}, err
	}
	defer end()
	blob, err := s.Registry.Blob(ctx, repo, one.Digest)
	if err != nil {
		if notHeld(err) {
			return artifacts.Content{Cut: notHere}, nil
		}
		return artifacts.Content{}, err
	}
	defer blob.Close()
	said, err := artifacts.Read(one.MediaType, blob, w)
	if err != nil {
		err = fmt.Errorf("file %s of %s: %w", one.Digest, repo, err)
	}
	return said, err
}

// maxSending is how long a manifest may take to be sent to a browser. Until then it is in memory.
const maxSending = 30 * time.Second

// download sends a file that a manifest names, or the manifest: as bytes to keep, never as something
// that a browser shows.
func (s *Site) download(w http.ResponseWriter, r *http.Request, f reference, text string) {
	d, err := core.ParseDigest(text)
	if err == nil && d == f.Digest {
		err = s.downloadManifest(w, r, f)
	} else if err == nil {
		err = s.downloadFile(w, r, f, d)
	}
	if err != nil {
		s.broken(w, r, f, err)
	}
}

// downloadManifest sends a manifest. An error means that nothing was sent.
func (s *Site) downloadManifest(w http.ResponseWriter, r *http.Request, f reference) error {
	manifest, end, err := s.turnFor(r.Context(), f)
	if err != nil {
		return err
	}
	defer end()
	deadlines := http.NewResponseController(w) // a test's writer may have none
	_ = deadlines.SetWriteDeadline(time.Now().Add(maxSending))
	defer func() { _ = deadlines.SetWriteDeadline(time.Time{}) }() // the next answer of the connection has its own
	keep(w.Header(), f.Digest.Encoded()+".json")
	s.send(w, r, http.StatusOK, manifest)
	return nil
}

// turnFor reads a manifest, a large one in its turn, which end ends.
func (s *Site) turnFor(ctx context.Context, f reference) (manifest []byte, end func(), err error) {
	row, err := s.Registry.ImageRow(ctx, f.repo, f.Digest)
	if err != nil {
		return nil, nil, err
	}
	end = func() {}
	if isLarge(row) {
		if end, err = s.take(ctx, large); err != nil {
			return nil, nil, err
		}
	}
	if manifest, err = s.manifest(ctx, f.repo, f.Digest); err != nil {
		end()
	}
	return manifest, end, err
}

// downloadFile sends a file that a manifest names. An error means that nothing was sent.
func (s *Site) downloadFile(w http.ResponseWriter, r *http.Request, f reference, d digest.Digest) error {
	ctx := r.Context()
	named, err := s.Registry.ImageNames(ctx, f.repo, f.Digest)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(named, func(n core.NamedRow) bool { return n.Digest == d }) {
		return core.ErrBlobUnknown
	}
	manifest, end, err := s.turnFor(ctx, f)
	if err != nil {
		return err
	}
	files, _ := artifacts.Files(manifest)
	end()
	blob, err := s.Registry.Blob(ctx, f.repo, d)
	if err != nil {
		return err
	}
	defer blob.Close()
	name := d.Encoded()
	if at := slices.IndexFunc(files, func(f artifacts.File) bool { return f.Digest == d }); at >= 0 {
		name = files[at].FileName()
	}
	keep(w.Header(), name)
	if n := blob.Descriptor().Size; n >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	}
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(w, blob); err != nil && ctx.Err() == nil {
		s.Log.Warn("download from a page ended early", "repository", f.repo, "digest", d, "error", err)
		panic(http.ErrAbortHandler) // so that the browser knows
	}
	return nil
}

// keep sets the header of a file that a browser is to keep under a name.
func keep(h http.Header, name string) {
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
}
