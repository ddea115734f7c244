package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

const (
	// maxListSize bounds a list as a whole, in bytes, and maxPageSize one page of it: the
	// largest repositories of Docker Hub have some hundred thousand tags. maxPages bounds
	// a list with small pages.
	maxListSize = 16 << 20
	maxPageSize = 8 << 20
	maxPages    = 1000
	// maxTags bounds the tags of a list. Each takes some 40 bytes of memory, however
	// short it is.
	maxTags = 1 << 19
	// maxAnnotated bounds the annotations of a list of referrers: a map takes a hundred
	// bytes for each, however short it is. The descriptors beyond have none.
	maxAnnotated = 50_000
	// listsAtOnce bounds the lists that are being read at once: clients choose the
	// repositories.
	listsAtOnce = 3
)

// Tags lists the tags of repo in the upstream's order, without those that are not
// valid. Errors: those of the package; ErrTooLarge beyond 16 MiB or half a million tags.
func (c *Client) Tags(ctx context.Context, repo string) ([]string, error) {
	return pages(ctx, c, repo, "tags/list?n=1000", "application/json", maxTags, func(r *reply, body io.Reader) ([]string, error) {
		tags, err := decodeTags(body)
		if errors.Is(err, errNotTags) {
			return nil, r.fail(ErrCorrupt, err.Error())
		}
		return tags, err
	})
}

var errNotTags = errors.New("it is not a list of tags")

// decodeTags reads a page, tag by tag. Errors: errNotTags; body's own.
func decodeTags(body io.Reader) ([]string, error) {
	own := &failing{Reader: body}
	d := json.NewDecoder(own)
	tags, err := decodePage(d)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("there is more data behind it")
		}
	}
	switch {
	case own.err != nil:
		return nil, own.err
	case err != nil:
		return nil, fmt.Errorf("%w: %s", errNotTags, printable(err.Error()))
	}
	return tags, nil
}

func decodePage(d *json.Decoder) (tags []string, err error) {
	if err := expect(d, '{'); err != nil {
		return nil, err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		if text, _ := name.(string); !strings.EqualFold(text, "tags") {
			var skipped json.RawMessage
			if err := d.Decode(&skipped); err != nil {
				return nil, err
			}
			continue
		}
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		if token == nil {
			continue // null is an empty list
		}
		if token != json.Delim('[') {
			return nil, errors.New("tags is not a list")
		}
		for d.More() {
			var tag string
			if err := d.Decode(&tag); err != nil {
				return nil, err
			}
			if _, err := core.ParseTag(tag); err == nil {
				tags = append(tags, tag)
			}
			if len(tags) > maxTags {
				return tags, nil // pages refuses it
			}
		}
		if err := expect(d, ']'); err != nil {
			return nil, err
		}
	}
	return tags, expect(d, '}')
}

func expect(d *json.Decoder, want json.Delim) error {
	token, err := d.Token()
	if err == nil && token != want {
		err = fmt.Errorf("there is no %s where there should be", want)
	}
	return err
}

// failing keeps the error of a reader, which a decoder may reword.
type failing struct {
	io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// Referrers lists what refers to d: from the referrers API, else from the tag that
// stands for it (spec.md, "Unavailable Referrers API"). If there are none the list is
// empty, which does not reveal whether the repository or d exists.
func (c *Client) Referrers(ctx context.Context, repo string, d digest.Digest) ([]core.Descriptor, error) {
	found, err := c.referrersAPI(ctx, repo, d)
	if VerdictOf(err) != Gone {
		return found, err
	}
	answer, err := c.Manifest(ctx, repo, core.Reference{Tag: referrersTag(d)})
	if VerdictOf(err) == Gone {
		return []core.Descriptor{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer answer.Release()
	op := "referrers of " + repo + "@" + string(d)
	found, cause := decodeReferrers(answer.Bytes)
	if cause != nil {
		return nil, &Error{Condition: ErrCorrupt, Op: op, cause: cause}
	}
	trim(found, new(int))
	return found, nil
}

// referrersAPI is Referrers without the tag: it makes one request, if there is one page.
// Errors: also ErrNotFound, which registries with the API answer only for an unknown
// repository, and those without it always.
func (c *Client) referrersAPI(ctx context.Context, repo string, d digest.Digest) ([]core.Descriptor, error) {
	var annotated int
	found, err := pages(ctx, c, repo, "referrers/"+string(d), ocispec.MediaTypeImageIndex, core.MaxDescriptors, func(r *reply, body io.Reader) ([]core.Descriptor, error) {
		if t, err := core.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != ocispec.MediaTypeImageIndex {
			return nil, r.fail(ErrNotFound, "no referrers API") // a web page that answers everything
		}
		data, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		found, err := decodeReferrers(data)
		if err != nil {
			return nil, r.fail(ErrCorrupt, printable(err.Error()))
		}
		trim(found, &annotated)
		return found, nil
	})
	var e *Error
	switch {
	case err == nil:
		return found, nil
	case errors.As(err, &e) && e.from != realm && noAPI(e.Status):
		return nil, &Error{Condition: ErrNotFound, Op: e.Op, Status: e.Status, cause: errors.New("no referrers API")}
	}
	return nil, err
}

// noAPI reports whether a status means that the registry has no referrers API: spec.md
// says 404, routers and proxies in front answer the others.
func noAPI(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable,
		http.StatusGone, http.StatusNotImplemented:
		return true
	}
	return false
}

// decodeReferrers reads the descriptors of an index, as entries of a list.
func decodeReferrers(data []byte) ([]core.Descriptor, error) {
	doc, err := core.InspectReferrers(data)
	switch {
	case err != nil:
		return nil, err
	case doc.Ambiguous != nil:
		return nil, doc.Ambiguous
	case doc.Kind != core.KindIndex && doc.Kind != core.KindOther:
		return nil, fmt.Errorf("it is %s", doc.Kind)
	case doc.Malformed != nil && len(doc.Manifests) == 0:
		return nil, doc.Malformed
	}
	found := []core.Descriptor{}
	for _, desc := range doc.Manifests {
		found = append(found, core.Referrer(desc))
	}
	return found, nil
}

// trim leaves out the annotations beyond maxAnnotated; kept is their number so far.
func trim(list []core.Descriptor, annotated *int) {
	for i := range list {
		if *annotated += len(list[i].Annotations); *annotated > maxAnnotated {
			list[i].Annotations = nil
		}
	}
}

// referrersTag is the tag that stands for d's referrers: its algorithm and at most
// 64 characters of its hex (spec.md, "Referrers Tag Schema").
func referrersTag(d digest.Digest) string {
	hex := d.Encoded()
	return d.Algorithm().String() + "-" + hex[:min(len(hex), 64)]
}

// pages reads a list page by page, and at most so many entries. A page is requested from
// the upstream that c prefers, so a Link is reduced to its query. The list is not nil.
// Errors: those of the package and of decode; ErrTooLarge beyond a bound.
func pages[T any](ctx context.Context, c *Client, repo, path, accept string, most int, decode func(*reply, io.Reader) ([]T, error)) ([]T, error) {
	select {
	case c.lists <- struct{}{}:
		defer func() { <-c.lists }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	all, left := []T{}, int64(maxListSize)
	asked := map[string]bool{path: true}
	for range maxPages {
		var page []T
		var next string
		var read int64
		_, err := c.ask(ctx, question{
			method: http.MethodGet, repo: repo, path: path,
			header: http.Header{"Accept": {accept}},
			read: func(r *reply) (err error) {
				body := &limited{r: r, most: min(maxPageSize, left)}
				if page, err = decode(r, body); err == nil {
					next, err = r.next(repo, path)
				}
				read = body.read
				return err
			},
		})
		if err != nil {
			return nil, err
		}
		left -= read
		if all = append(all, page...); len(all) > most {
			break
		}
		if next == "" {
			return all, nil
		}
		if asked[next] {
			return nil, &Error{Condition: ErrCorrupt, Op: "list " + repo + "/" + path, cause: errors.New("the pages form a loop")}
		}
		path, asked[next] = next, true
	}
	return nil, &Error{Condition: ErrTooLarge, Op: "list " + repo + "/" + path, cause: errors.New("it has too many pages or entries")}
}

// limited reads an answer up to a size. Errors: ErrTooLarge beyond it.
type limited struct {
	r          *reply
	most, read int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(int64(len(p)), l.most-l.read+1)])
	l.read += int64(n)
	if l.read > l.most {
		return 0, l.r.fail(ErrTooLarge, "it is larger than its kind may be")
	}
	return n, err
}
