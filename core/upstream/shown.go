package upstream

import (
	"context"
	"io"
	"net/http"
	"regexp"
)

// maxShown is how much of a list of tags is read to see whether there is one, in bytes.
// A tag has at most 128, and some registries ignore the requested number.
const maxShown = 4 << 10

var firstTag = regexp.MustCompile(`"tags"\s*:\s*\[\s*"`)

// Shown reports whether c can see that repo exists: whether its list of tags is not
// empty. It is one request, bounded by Config.HeadTimeout. Errors: those of the
// package.
func (c *Client) Shown(ctx context.Context, repo string) (shown bool, err error) {
	_, err = c.ask(ctx, question{
		method: http.MethodGet, repo: repo, path: "tags/list?n=1", within: c.config.HeadTimeout,
		header: http.Header{"Accept": {"application/json"}},
		read: func(r *reply) error {
			start, err := io.ReadAll(io.LimitReader(r, maxShown))
			shown = firstTag.Match(start)
			return err
		},
	})
	return shown, err
}
