package transfer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// oneOfEach decides between two spellings of one repository that the source keeps apart, such as
// docker.io/nginx and docker.io/library/nginx. The tag that was set later wins. The other one is
// removed from images and reported; its image is imported without it.
func (r *repository) oneOfEach(ctx context.Context, images []Image) error {
	spellings := r.spellings[r.name]
	if len(spellings) < 2 {
		return nil
	}
	better := map[string]claim{}
	for at, spelling := range spellings {
		rival := images
		if spelling != r.source {
			var err error
			if rival, err = r.Source.Images(ctx, spelling); ctx.Err() != nil {
				return context.Cause(ctx)
			} else if err != nil {
				continue // it is left out when its turn comes
			}
		}
		for _, image := range rival {
			for _, tag := range image.Tags {
				c := claim{image, spelling, at, tag.Since}
				if best, ok := better[tag.Name]; !ok || c.compare(best) > 0 {
					better[tag.Name] = c
				}
			}
		}
	}
	for i := range images {
		image := &images[i]
		image.Tags = slices.DeleteFunc(image.Tags, func(tag Tag) bool {
			best := better[tag.Name]
			if best.image.Digest == image.Digest {
				return false
			}
			r.report(Item{
				Source: r.source, Repository: r.name, Reference: tag.Name, Digest: image.Digest, Outcome: Skipped,
				Reason: fmt.Sprintf("here it has the name of %s:%s, which was set later, at %s; this one was set at %s",
					best.spelling, tag.Name, moment(best.since), moment(tag.Since)),
			})
			return true
		})
	}
	return nil
}

// claim is a tag of one spelling.
type claim struct {
	image    Image
	spelling string
	at       int // of the spelling, in the source's order
	since    time.Time
}

// compare is positive if c wins: the later one, and of two with one time that which comes first.
func (c claim) compare(other claim) int {
	return cmp.Or(c.since.Compare(other.since), cmp.Compare(other.at, c.at))
}

// moment writes a time that may be unknown.
func moment(at time.Time) string {
	if at.IsZero() {
		return "an unknown time"
	}
	return at.UTC().Format(time.RFC3339)
}
