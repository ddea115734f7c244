package main

import (
	"fmt"
	"math/rand/v2"
)

// mirrorWarm measures GET of a blob that a mirror holds beside a private one: of one
// storage, of the same bytes.
func (b *bench) mirrorWarm() error {
	s, err := newSource(0, newImage(rand.NewChaCha8([32]byte{6}), int(b.size.blob)))
	if err != nil {
		return err
	}
	defer s.close() // every earlier answer was correct
	server, err := b.mirrorOf(s, "")
	if err != nil {
		return err
	}
	if err := s.image.push(b.ctx, server.url(), "team/app", "v1", false); err != nil {
		return err
	}
	var contenders []contender
	for _, held := range []struct{ name, repo string }{{"of a mirror", "docker.io/" + pulledRepo}, {"private", "team/app"}} {
		path := "/v2/" + held.repo + "/blobs/" + s.image.digests[1].String()
		// This fetches it, if it is the mirror's.
		if _, err := b.pull(server.url(), held.repo, s.image); err != nil {
			return err
		}
		contenders = append(contenders, contender{held.name, func() (sample, error) { return b.download(server, path) }})
	}
	return b.compare(fmt.Sprintf("GET of a stored blob of %d MiB, %d at a time", b.size.blob>>20, downloaders), "MiB/s", "CPU per MiB", 1, contenders)
}
