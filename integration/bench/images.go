package main

import (
	"fmt"
	"math/rand/v2"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// manyClients push at the same time, each to its own repository.
const manyClients = 16

// pushers is a way to push small images.
type pushers struct {
	name     string
	clients  int
	together bool // all blobs of an image at once
}

// images measures pushes of images of small layers.
func (b *bench) images() error {
	servers, err := b.registries()
	if err != nil {
		return err
	}
	random := rand.NewChaCha8([32]byte{1})
	for _, p := range []pushers{
		{"1 client, one blob after the other", 1, false},
		{"1 client, the blobs of an image at once", 1, true},
		{fmt.Sprintf("%d clients, the blobs of an image at once", manyClients), manyClients, true},
	} {
		var contenders []contender
		for _, s := range servers {
			turn := 0
			contenders = append(contenders, contender{s.name, func() (sample, error) {
				turn++
				return b.pushAll(s, p, random, fmt.Sprintf("c%d-%t/t%d", p.clients, p.together, turn))
			}})
		}
		title := fmt.Sprintf("Push of images of %d layers of %d KiB: %s", smallLayers, smallLayer>>10, p.name)
		if err := b.compare(title, "images/s", "CPU per image", len(servers)-1, contenders); err != nil {
			return err
		}
	}
	return nil
}

// registries are the product and, as the last one, distribution, both empty.
func (b *bench) registries() ([]*server, error) {
	data, err := b.folder("data")
	if err != nil {
		return nil, err
	}
	product, err := b.registry(data)
	if err != nil {
		return nil, err
	}
	servers := []*server{product}
	if err := product.answers(b.ctx, product.url()+"/v2/_catalog?n=1"); err != nil {
		return nil, err
	}
	if b.distribution != "" {
		peer, err := b.distributionServer()
		if err != nil {
			return nil, err
		}
		servers = append(servers, peer)
	}
	return servers, nil
}

// pushAll is one turn. The images are made before it begins, and read back after it.
func (b *bench) pushAll(s *server, p pushers, random *rand.ChaCha8, prefix string) (sample, error) {
	count := b.size.images
	if p.clients > 1 {
		count = b.size.together
	}
	made := make([]image, count)
	for i := range made {
		made[i] = newImage(random, smallLayer, smallLayer, smallLayer)
	}
	repo := func(i int) string { return fmt.Sprintf("%s/app%d", prefix, i%p.clients) }
	result, err := timed(s.process, func() (float64, error) {
		var group sync.WaitGroup
		errs := make(chan error, p.clients)
		for c := range p.clients {
			group.Go(func() {
				for i := c; i < count; i += p.clients {
					if err := made[i].push(b.ctx, s.url(), repo(i), fmt.Sprintf("v%d", i), p.together); err != nil {
						errs <- err
						return
					}
				}
			})
		}
		group.Wait()
		close(errs)
		return float64(count), <-errs
	})
	if err != nil {
		return sample{}, err
	}
	for i, img := range made {
		if _, err := get(fmt.Sprintf("%s/v2/%s/manifests/v%d", s.url(), repo(i), i), ocispec.MediaTypeImageManifest, img.manifest); err != nil {
			return sample{}, err
		}
		for k, blob := range img.blobs {
			if _, err := get(fmt.Sprintf("%s/v2/%s/blobs/%s", s.url(), repo(i), img.digests[k]), "*/*", blob); err != nil {
				return sample{}, err
			}
		}
	}
	return result, nil
}

// monolithic measures the push of an image of one large layer, beside a file of that
// size that is written and synced.
func (b *bench) monolithic() error {
	servers, err := b.registries()
	if err != nil {
		return err
	}
	random := rand.NewChaCha8([32]byte{2})
	mebibytes := float64(b.size.blob) / (1 << 20)
	var contenders []contender
	for _, s := range servers {
		turn := 0
		contenders = append(contenders, contender{s.name, func() (sample, error) {
			turn++
			img := newImage(random, int(b.size.blob))
			tag := fmt.Sprintf("v%d", turn)
			result, err := timed(s.process, func() (float64, error) {
				return mebibytes, img.push(b.ctx, s.url(), "team/large", tag, false)
			})
			if err == nil {
				_, err = get(s.url()+"/v2/team/large/blobs/"+img.digests[1].String(), "*/*", img.blobs[1])
			}
			return result, err
		}})
	}
	contenders = append(contenders, contender{"dd conv=fsync, 1 MiB blocks", func() (sample, error) { return b.dd(b.size.blob) }})
	return b.compare(fmt.Sprintf("Push of a layer of %.0f MiB in one request", mebibytes), "MiB/s", "CPU per MiB", len(servers)-1, contenders)
}
