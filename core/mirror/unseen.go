package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/upstream"
)

// errUnseen is the result for a repository that the upstream does not show to anonymous callers:
// it is hidden, or it does not exist. Callers without Private get the same answer in both cases,
// and credentials are not used to find out which one it is.
var errUnseen = errors.New("the upstream shows no such repository to anonymous callers")

// unseenNoun is the key in absent of a repository that is not shown.
func unseenNoun(repo string) string { return repo + ":" } // an empty tag, which clients cannot request

// unveil asks anonymously for something of an unknown repository, before credentials fetch it for
// a caller without Private. A refusal may mean that it is missing in a public repository: the
// list of tags shows that. noun names what is requested, and missing is the error if it does not
// exist. Errors: missing, those of hide, and those of failed for an upstream that cannot be
// asked.
func (m *Mirror) unveil(ctx context.Context, repo, noun string, missing *core.Error, look look) error {
	if m.knownAbsent(unseenNoun(repo), missing) != nil {
		return m.hide(ctx, repo)
	}
	_, err := together(ctx, m, "mirror.unveil", "unveil "+noun, func(ctx context.Context) (struct{}, error) {
		var none struct{}
		if m.rightsOf(ctx, repo).ok {
			return none, nil // another flight ended since the lookup
		}
		shown := rights{Asked: time.Now().UTC()}
		err := look(ctx, m.nobody)
		switch {
		case err == nil, errors.Is(err, upstream.ErrInvalid):
			m.setRights(ctx, repo, shown)
			return none, nil
		case errors.Is(err, errNoTags):
		case !refused(err):
			// An upstream that answers no anonymous caller at all shows nothing to anonymous
			// callers.
			if own := look(ctx, m.upstream); own == nil || refused(own) {
				return none, errUnseen
			}
			return none, fmt.Errorf("%s: %w", noun, failed(err, missing))
		case m.shown(ctx, repo):
			m.setRights(ctx, repo, shown)
			return none, m.noteAbsent(noun, err, missing)
		}
		m.absent.set(unseenNoun(repo), time.Now().Add(m.settings.Load().NotFoundTTL))
		return none, errUnseen
	})
	if errors.Is(err, errUnseen) {
		return m.hide(ctx, repo)
	}
	return err
}

// shown reports whether the upstream shows a tag of a repository to anonymous callers.
func (m *Mirror) shown(ctx context.Context, repo string) bool {
	remote, err := m.remote(repo)
	if err != nil {
		return false
	}
	if c, ok := m.nobody.(interface {
		Shown(ctx context.Context, repo string) (bool, error)
	}); ok {
		shown, err := c.Shown(ctx, remote)
		return err == nil && shown
	}
	tags, err := m.nobody.Tags(ctx, remote)
	return err == nil && len(tags) > 0
}
