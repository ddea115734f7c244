package soak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

const (
	// mirrored and pushed bound the images of the load; layers and layerSize, in bytes, each of
	// them.
	mirrored  = 24
	pushed    = 24
	layers    = 2
	layerSize = 128 << 10
	// pause is the time from the beginning of one step of a worker to that of the next.
	pause = 20 * time.Millisecond
	// leaves is how many uploads are cut off for one that is not cancelled either.
	leaves = 64
	// stepLimit bounds one step.
	stepLimit = 30 * time.Second
)

// load is what clients do, each in a loop until it is stopped.
type load struct {
	url    string
	secret string // of a key that may push
	images []client.Image

	ended  atomic.Int64 // steps
	mu     sync.Mutex   // guards failed
	failed map[string]failure
}

// failure is one kind of failed steps.
type failure struct {
	times int
	first error
}

// cut is the kind of a connection that was closed. The others are the statuses of answers.
const cut = "connection"

// run runs all workers until ctx ends, and returns when the last one has left.
func (l *load) run(ctx context.Context) {
	var workers sync.WaitGroup
	for i, step := range []func(context.Context, *client.Client, *rand.Rand, string) error{
		l.pull, l.pull, l.pull, l.push, l.push, l.list, l.cutOffPull, l.cutOffPush, l.signInWrongly,
	} {
		workers.Go(func() { l.work(ctx, i, step) })
	}
	workers.Wait()
}

func (l *load) work(ctx context.Context, i int, step func(context.Context, *client.Client, *rand.Rand, string) error) {
	random := rand.New(rand.NewPCG(1, uint64(i)))
	own := fmt.Sprintf("team/app%d", i) // nobody else pushes there
	c := client.New(l.url)
	defer c.Close()
	pace := time.NewTicker(pause)
	defer pace.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		// A step that has begun ends: a client that is cut off is a step of its own.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepLimit)
		err := step(bounded, c, random, own)
		cancel()
		l.ended.Add(1)
		if err != nil {
			l.note(err)
		}
	}
}

func (l *load) note(err error) {
	kind := cut
	var answer *client.StatusError
	var network net.Error
	switch {
	case errors.As(err, &answer):
		kind = fmt.Sprintf("%s %d", answer.Method, answer.Status)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network) && !network.Timeout():
	default:
		kind = "other"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.failed[kind]
	if f.times++; f.first == nil {
		f.first = err
	}
	l.failed[kind] = f
}

// name is the repository of a mirrored image below docker.io/.
func name(i int) string { return fmt.Sprintf("library/app%d", i) }

// pull pulls a mirrored image anonymously. It is cold after each purge.
func (l *load) pull(ctx context.Context, c *client.Client, random *rand.Rand, _ string) error {
	_, err := c.PullImage(ctx, "docker.io/"+name(random.IntN(mirrored)), "v1")
	return err
}

// push pushes an image with a key, pulls it without, lists its tags, and deletes it mostly.
func (l *load) push(ctx context.Context, c *client.Client, random *rand.Rand, own string) error {
	image := l.images[random.IntN(pushed)]
	tag := fmt.Sprintf("v%d", random.IntN(8))
	known := client.New(l.url).Login("soak", l.secret)
	defer known.Close()
	if err := known.PushImage(ctx, own, tag, image); err != nil {
		return err
	}
	if got, err := c.PullImage(ctx, own, tag); err != nil || got != image.Digest() {
		return cmpError(err, "pull of %s:%s: got %s, want %s", own, tag, got, image.Digest())
	}
	if random.IntN(4) == 0 {
		return nil
	}
	if random.IntN(2) == 0 {
		return known.DeleteManifest(ctx, own, tag)
	}
	return known.DeleteManifest(ctx, own, string(image.Digest()))
}

// cmpError returns err, or an error with a text if there is none.
func cmpError(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return fmt.Errorf(format, args...)
}

// list lists tags of the mirror and of private repositories, and the catalog.
func (l *load) list(ctx context.Context, c *client.Client, random *rand.Rand, _ string) error {
	for _, path := range []string{"/v2/docker.io/" + name(random.IntN(mirrored)) + "/tags/list", "/v2/_catalog?n=100"} {
		if err := get(ctx, c, path, http.StatusOK); err != nil {
			return err
		}
	}
	return nil
}

func get(ctx context.Context, c *client.Client, path string, want int) error {
	answer, err := c.Request(ctx, http.MethodGet, path, nil, nil, want)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// cutOffPull goes away after the first bytes of a blob.
func (l *load) cutOffPull(ctx context.Context, c *client.Client, random *rand.Rand, _ string) error {
	i := random.IntN(mirrored)
	path := "/v2/docker.io/" + name(i) + "/blobs/" + digest.FromBytes(l.images[i].Blobs[1]).String()
	answer, err := c.Request(ctx, http.MethodGet, path, nil, nil, http.StatusOK)
	if err != nil {
		return err
	}
	_, err = io.ReadFull(answer.Body, make([]byte, 1<<10))
	answer.Body.Close() // ends the connection
	return err
}

// errAway is why cutOffPush sends no more.
var errAway = errors.New("the client goes away")

// cutOffPush goes away in the middle of an upload. It comes back to cancel it, with few exceptions:
// what is left to the collector counts for the user for ten minutes.
func (l *load) cutOffPush(ctx context.Context, _ *client.Client, random *rand.Rand, own string) error {
	c := client.New(l.url).Login("soak", l.secret)
	defer c.Close()
	location, err := c.StartUpload(ctx, own)
	if err != nil {
		return err
	}
	half := l.images[random.IntN(pushed)].Blobs[1][:layerSize/2]
	_, err = c.AppendUpload(ctx, location, 0, layerSize, io.MultiReader(bytes.NewReader(half), away{}))
	if err == nil || !errors.Is(err, errAway) {
		return cmpError(err, "half of a chunk was accepted as a whole one")
	}
	if random.IntN(leaves) == 0 {
		return nil
	}
	return server.Eventually(stepLimit, func() (bool, error) {
		answer, err := c.Request(ctx, http.MethodDelete, location, nil, nil, http.StatusNoContent)
		var refused *client.StatusError
		if errors.As(err, &refused) && refused.Status == http.StatusRequestedRangeNotSatisfiable {
			return false, nil // the server has not seen yet that the client went away
		}
		if err == nil {
			answer.Body.Close()
		}
		return err == nil, err
	})
}

type away struct{}

func (away) Read([]byte) (int, error) { return 0, errAway }

// signInWrongly uses a key that does not exist.
func (l *load) signInWrongly(ctx context.Context, _ *client.Client, random *rand.Rand, own string) error {
	c := client.New(l.url).Login("soak", fmt.Sprintf("wrong%d", random.IntN(100)))
	defer c.Close()
	return get(ctx, c, "/v2/"+own+"/tags/list", http.StatusUnauthorized)
}
