package powercut

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// Repair pushes a new image, damages the file of its manifest and those of its blobs
// in the bucket at path, durably, and pushes it again without checking what exists. When it
// returns, the image is acknowledged like any other. Only one client may use it: until then,
// other clients' images that share a blob are also damaged.
func (c *Client) Repair(ctx context.Context, path string) error {
	img, err := c.pushDamaged(ctx, path)
	if err != nil {
		return err
	}
	blind := *c
	blind.blind = true
	return blind.Push(ctx, img)
}

// Heal is like Repair, but by quarantine, which moves damaged content away: after that the
// client checks what it has to push.
func (c *Client) Heal(ctx context.Context, path string, quarantine func(context.Context) error) error {
	img, err := c.pushDamaged(ctx, path)
	if err != nil {
		return err
	}
	if err := quarantine(ctx); err != nil {
		return err
	}
	return c.Push(ctx, img)
}

// pushDamaged pushes a new image and damages the files of its manifest and blobs.
func (c *Client) pushDamaged(ctx context.Context, path string) (img *Image, err error) {
	img = c.NewImage()
	if err := c.Push(ctx, img); err != nil {
		return img, err
	}
	files := []digest.Digest{img.Digest()}
	for d := range img.blobs {
		files = append(files, d)
	}
	for i, d := range files {
		file := filepath.Join(path, "objects", "blobs", d.Algorithm().String(), d.Encoded()[:2], d.Encoded())
		if err := damage(file, i%2 == 0); err != nil {
			return img, err
		}
	}
	return img, nil
}

// damage changes a byte of a file, or takes its second half away; an empty one grows.
func damage(file string, flip bool) (err error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	first := make([]byte, 1)
	_, _ = f.ReadAt(first, 0) // an empty file has none
	first[0] ^= 1
	if flip || info.Size() < 2 {
		_, err = f.WriteAt(first, 0)
	} else {
		err = f.Truncate(info.Size() / 2)
	}
	if err != nil {
		return err
	}
	return f.Sync()
}
