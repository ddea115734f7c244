package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
)

// tagCall is one call that reads or changes a tag.
type tagCall struct {
	op  string // put, create, untag, delete, get
	tag string
	// image is the digest put, or of the manifest deleted.
	image digest.Digest
}

// tagAnswer is the answer that the caller got.
type tagAnswer struct {
	ok    bool          // false: refused, or not there
	image digest.Digest // what get read
}

// tagRegister models one tag for concurrent callers: a register that also has
// create-only writes, and that the delete of a manifest may empty.
var tagRegister = porcupine.Model{
	Init: func() any { return digest.Digest("") },
	Step: func(state, input, output any) (bool, any) {
		held, call, answer := state.(digest.Digest), input.(tagCall), output.(tagAnswer)
		switch call.op {
		case "put":
			return answer.ok, call.image
		case "create":
			if held == "" || held == call.image {
				return answer.ok, call.image
			}
			return !answer.ok, held
		case "untag":
			return answer.ok == (held != ""), digest.Digest("")
		case "delete":
			if held == call.image {
				return answer.ok, digest.Digest("")
			}
			return true, held
		default:
			return answer.image == held, held
		}
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

func TestTagsAreLinearizable(t *testing.T) {
	t.Run("in memory", func(t *testing.T) {
		for seed := range uint64(30) {
			m := newMemory(time.Now)
			m.intercept(func(context.Context, string) error { runtime.Gosched(); return nil })
			linearizable(t, m, seed)
		}
	})
	t.Run("on disk", func(t *testing.T) { linearizable(t, openDir(t), 1) })
}

// openDir opens a bucket in a directory of its own.
func openDir(t testing.TB) bucket.Bucket {
	t.Helper()
	storage, err := dir.Open(t.TempDir(), dir.Config{Verify: store.Verify})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := storage.Close(); err != nil {
			t.Errorf("close storage: %v", err)
		}
	})
	b, err := storage.Bucket("private")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// linearizable runs concurrent callers on two tags and checks that all answers
// fit one order of all calls.
func linearizable(t *testing.T, b bucket.Bucket, seed uint64) {
	const callers, calls = 5, 24
	s, err := store.Open(t.Context(), b, store.Config{Names: &coretest.MemoryNames{}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := &world{Store: s}
	if err := w.uploadAll(t.Context(), "config", "one", "two", "three"); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	history := map[string][]porcupine.Operation{}
	begin := time.Now()
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(caller)))
			for range calls {
				call := tagCall{
					op:  []string{"put", "create", "untag", "delete", "get", "get", "get"}[rng.IntN(7)],
					tag: []string{"v1", "latest"}[rng.IntN(2)],
				}
				layer := []string{"one", "two", "three"}[rng.IntN(3)]
				call.image = imageDigest(layer)
				op := porcupine.Operation{ClientId: caller, Input: call, Call: int64(time.Since(begin))}
				answer, err := w.call(t.Context(), call, layer)
				if err != nil {
					t.Errorf("%+v: %v", call, err)
					return
				}
				op.Output, op.Return = answer, int64(time.Since(begin))
				mu.Lock()
				for _, tag := range []string{"v1", "latest"} {
					if tag == call.tag || call.op == "delete" { // the delete of a manifest is of every tag
						history[tag] = append(history[tag], op)
					}
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	for tag, ops := range history {
		if !porcupine.CheckOperations(tagRegister, ops) {
			for _, op := range ops {
				t.Logf("%d %8d-%8d %s", op.ClientId, op.Call, op.Return, tagRegister.DescribeOperation(op.Input, op.Output))
			}
			t.Fatalf("seed %d: no order of these calls on %s explains the answers", seed, tag)
		}
	}
}

// call makes one call; an error is one that no caller should see.
func (w *world) call(ctx context.Context, call tagCall, layer string) (answer tagAnswer, err error) {
	switch call.op {
	case "put", "create":
		err = w.put(ctx, repo, imageOf("config", layer), call.op == "create", call.tag)
	case "untag":
		err = w.DeleteTag(ctx, repo, call.tag)
	case "delete":
		err = w.DeleteManifest(ctx, repo, call.image)
	default:
		var m core.Manifest
		m, err = w.Manifest(ctx, repo, core.Reference{Tag: call.tag})
		answer.image = m.Descriptor.Digest
	}
	for _, expected := range []error{core.ErrTagExists, core.ErrManifestUnknown, core.ErrNameUnknown} {
		if errors.Is(err, expected) {
			return answer, nil
		}
	}
	answer.ok = err == nil
	return answer, err
}
