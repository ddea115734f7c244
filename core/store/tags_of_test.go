package store_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/store"
)

// forgetful is an index that counts the walks over all tags of a repository, and can be without rows.
type forgetful struct {
	*index.Index
	walks int
	whole func() bool
	rows  func() error // nil: they are there
}

func (f *forgetful) Tags(repo, after string) iter.Seq2[store.Tag, error] {
	f.walks++
	return f.Index.Tags(repo, after)
}

func (f *forgetful) Whole() bool { return f.Index.Whole() && (f.whole == nil || f.whole()) }

func (f *forgetful) DigestTags(ctx context.Context, repo string, d digest.Digest, after string) iter.Seq2[string, error] {
	if f.rows == nil {
		return f.Index.DigestTags(ctx, repo, d, after)
	}
	return func(yield func(string, error) bool) {
		if err := f.rows(); err != nil {
			yield("", err)
		}
	}
}

// A manifest is deleted with its tags, for which the other tags of the repository are looked at only if the
// projection cannot say.
func TestADeletionFindsItsTags(t *testing.T) {
	asked := 0
	for name, f := range map[string]*forgetful{
		"a whole projection":      {},
		"one that is being built": {whole: func() bool { return false }, rows: func() error { return nil }},
		"one that is begun anew":  {whole: func() bool { asked++; return asked == 1 }, rows: func() error { return nil }},
		"one that cannot be read": {rows: func() error { return errors.New("damaged") }},
	} {
		w, _ := describedWorldBy(t, func(x *index.Index) indexed { f.Index = x; return f })
		must(t, w.push(t.Context(), repo, "config", "layer", "a", "b"))
		must(t, w.push(t.Context(), repo, "config", "other", "c"))
		f.walks, asked = 0, 0
		must(t, w.DeleteManifest(t.Context(), repo, imageDigest("layer")))
		if walked := f.walks > 0; walked != (name != "a whole projection") {
			t.Errorf("%s: all tags were looked at: %v", name, walked)
		}
		for tag, wanted := range map[string]*core.Error{"a": core.ErrManifestUnknown, "b": core.ErrManifestUnknown, "c": nil} {
			_, err := w.Resolve(t.Context(), repo, core.Reference{Tag: tag})
			if wanted == nil && err != nil || wanted != nil && !errors.Is(err, wanted) {
				t.Errorf("%s: tag %s: got %v", name, tag, err)
			}
		}
	}
}
