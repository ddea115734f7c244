package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

const (
	// maxPageSize bounds one page of a list in bytes, and maxPages their number:
	// the largest repositories of Docker Hub have some hundred thousand tags.
	maxPageSize = 8 << 20
	maxPages    = 1000
	// maxListed bounds a list as a whole.
	maxListed = 1 << 20
)

// Tags lists the tags of repo in the upstream's order, without those that are not
// valid. Errors: those of the package; ErrTooLarge beyond a million tags.
func (c *Client) Tags(ctx context.Context, repo string) ([]string, error) {
	tags := []string{}
	err := c.pages(ctx, repo, "tags/list?n=1000", "application/json", func(r *reply, data []byte) error {
		var page struct {
			Tags []string `json:"tags"`
		}
		if json.Unmarshal(data, &page) != nil {
			return r.fail(ErrCorrupt, "the list is not JSON")
		}
		for _, tag := range page.Tags {
			if _, err := core.ParseTag(tag); err == nil {
				tags = append(tags, tag)
			}
		}
		if len(tags) > maxListed {
			return r.fail(ErrTooLarge, "too many tags")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tags, nil
}

// Referrers lists what refers to d: from the referrers API, else from the tag that
// stands for it (spec.md, "Unavailable Referrers API"). None is an empty list: that
// the repository or d does not exist cannot be told from it.
func (c *Client) Referrers(ctx context.Context, repo string, d digest.Digest) ([]core.Descriptor, error) {
	found, err := c.ReferrersAPI(ctx, repo, d)
	if !errors.Is(err, ErrNotFound) {
		return found, err
	}
	answer, err := c.Manifest(ctx, repo, core.Reference{Tag: referrersTag(d)})
	if errors.Is(err, ErrNotFound) {
		return []core.Descriptor{}, nil
	}
	if err != nil {
		return nil, err
	}
	links, err := core.ParseManifest(answer.Descriptor.MediaType, answer.Bytes)
	if err != nil {
		return nil, &Error{Condition: ErrCorrupt, Op: "referrers of " + repo + "@" + string(d), cause: err}
	}
	return links.Manifests, nil
}

// ReferrersAPI is Referrers without the tag: one question, if there is one page.
// Errors: also ErrNotFound, which the API says of an unknown repository alone, and
// whoever does not have the API of everything.
func (c *Client) ReferrersAPI(ctx context.Context, repo string, d digest.Digest) ([]core.Descriptor, error) {
	found := []core.Descriptor{}
	err := c.pages(ctx, repo, "referrers/"+string(d), ocispec.MediaTypeImageIndex, func(r *reply, data []byte) error {
		if t, err := core.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != ocispec.MediaTypeImageIndex {
			return r.fail(ErrNotFound, "no referrers API") // a web page that answers everything
		}
		links, err := core.ParseManifest(ocispec.MediaTypeImageIndex, data)
		if err != nil {
			return r.fail(ErrCorrupt, printable(err.Error()))
		}
		found = append(found, links.Manifests...)
		if len(found) > maxListed {
			return r.fail(ErrTooLarge, "too many referrers")
		}
		return nil
	})
	var e *Error
	switch {
	case err == nil:
		return found, nil
	case errors.As(err, &e) && (e.Status == http.StatusBadRequest || e.Status == http.StatusMethodNotAllowed):
		return nil, &Error{Condition: ErrNotFound, Op: e.Op, Status: e.Status, cause: errors.New("no referrers API")}
	}
	return nil, err
}

// referrersTag is the tag that stands for d's referrers: its algorithm and at most
// 64 characters of its hex (spec.md, "Referrers Tag Schema").
func referrersTag(d digest.Digest) string {
	hex := d.Encoded()
	return d.Algorithm().String() + "-" + hex[:min(len(hex), 64)]
}

// pages reads a list page by page. A page is asked of the upstream that c prefers,
// so a Link is reduced to its path below the repository and its query.
func (c *Client) pages(ctx context.Context, repo, path, accept string, each func(*reply, []byte) error) error {
	for range maxPages {
		var next string
		_, err := c.ask(ctx, question{
			method: http.MethodGet, repo: repo, path: path,
			header: http.Header{"Accept": {accept}},
			read: func(r *reply) error {
				data, err := r.bounded(maxPageSize)
				if err == nil {
					err = each(r, data)
				}
				if err == nil {
					next, err = r.next(repo, path)
				}
				return err
			},
		})
		if err != nil || next == "" {
			return err
		}
		path = next
	}
	return &Error{Condition: ErrTooLarge, Op: "list " + repo + "/" + path, cause: errors.New("too many pages")}
}

// next reads the Link to the next page, as a path below the repository. It must
// be a page of the same list.
func (r *reply) next(repo, path string) (string, error) {
	target := nextLink(r.Header.Values("Link"))
	if target == "" {
		return "", nil
	}
	here := "/v2/" + repo + "/" + path
	list, _, _ := strings.Cut(here, "?")
	from, err := r.base.Parse(here)
	var u *url.URL
	if err == nil {
		u, err = from.Parse(target)
	}
	if err != nil || hostPort(u) != hostPort(r.base) || u.Path != list || u.RawQuery == "" {
		return "", r.fail(ErrCorrupt, "the link to the next page leads elsewhere")
	}
	if u.RawQuery == from.RawQuery {
		return "", r.fail(ErrCorrupt, "the link to the next page leads back")
	}
	return strings.TrimPrefix(list, "/v2/"+repo+"/") + "?" + u.RawQuery, nil
}

// nextLink finds the target with rel="next" (RFC 8288).
func nextLink(headers []string) string {
	for _, h := range headers {
		for h != "" {
			_, rest, ok := strings.Cut(h, "<")
			target, rest, closed := strings.Cut(rest, ">")
			if !ok || !closed {
				break
			}
			params, after, _ := strings.Cut(rest, "<")
			if strings.Contains(params, `rel="next"`) || strings.Contains(params, "rel=next") {
				return target
			}
			if after == "" {
				break
			}
			h = "<" + after
		}
	}
	return ""
}
