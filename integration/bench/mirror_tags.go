package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// tagPulls is the number of pulls of a tag, tagPullers at a time.
	tagPulls, tagPullers = 1000, 10
	// silentTTL and silentHead are for an upstream that hangs: how long a tag is fresh,
	// and how long a check of it may take.
	silentTTL, silentHead = time.Second, time.Second
	// silentAfter are pulls after the first one that met the silence.
	silentAfter = 100
	// patience is how many times sizes.ttl a client waits.
	patience = 2
)

// mirrorTags counts the requests to an upstream for pulls of a stored tag, and measures the
// pulls when the upstream no longer answers.
func (b *bench) mirrorTags() error {
	return errors.Join(b.tagQuestions(), b.tagSilence())
}

// tagQuestions pulls a tag while it is fresh, and after that.
func (b *bench) tagQuestions() error {
	s, err := newSource(0, pulledImage(1))
	if err != nil {
		return err
	}
	defer s.close() // every earlier answer was correct
	later := b.size.ttl + b.size.ttl/10
	var rows [][]string
	for _, p := range b.tagContenders(fmt.Sprintf("ttl %s", b.size.ttl)) {
		url, repo, server, err := p.start(s)
		if err != nil {
			return err
		}
		pulls := func() (string, error) {
			s.reset()
			err := b.pullTag(url, repo, s.image)
			asked := s.reset()
			return fmt.Sprintf("%d HEAD, %d GET", asked.heads, asked.manifests), err
		}
		if err := pullManifest(b.ctx, hostOf(url), repo, s.image); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		learned := time.Now()
		fresh, err := pulls()
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		time.Sleep(time.Until(learned.Add(later)))
		expired, err := pulls()
		if err := errors.Join(err, server.stop()); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		rows = append(rows, []string{p.name, fresh, expired})
	}
	b.table(fmt.Sprintf("Requests to the upstream for %d pulls of a stored tag, %d at a time", tagPulls, tagPullers),
		[]string{"", "at first", fmt.Sprintf("%s later", later)}, rows)
	return nil
}

// tagSilence pulls a stored tag from an upstream that accepts requests and does not answer.
func (b *bench) tagSilence() error {
	s, err := newSource(0, pulledImage(1))
	if err != nil {
		return err
	}
	defer s.close()
	var rows [][]string
	for _, p := range b.tagContenders(fmt.Sprintf("ttl %s\nhead_timeout %s", silentTTL, silentHead)) {
		url, repo, server, err := p.start(s)
		if err != nil {
			return err
		}
		if err := pullManifest(b.ctx, hostOf(url), repo, s.image); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		time.Sleep(silentTTL + silentTTL/10)
		answer := s.hang()
		first, err := b.patiently(url, repo, s.image)
		var rest []time.Duration
		for range silentAfter {
			if err != nil {
				break
			}
			var took time.Duration
			took, err = b.patiently(url, repo, s.image)
			rest = append(rest, took)
		}
		answer()
		row := []string{p.name, millis(first), "-", "-"}
		if err != nil {
			row[1] = err.Error()
		} else {
			slices.Sort(rest)
			row[2], row[3] = millis(rest[len(rest)/2]), millis(rest[len(rest)-1])
		}
		rows = append(rows, row)
		if err := server.stop(); err != nil {
			return err
		}
	}
	b.table(fmt.Sprintf("A stored and expired tag of an upstream that hangs; head_timeout %s", silentHead),
		[]string{"", "first answer", fmt.Sprintf("the next %d, p50", silentAfter), "longest"}, rows)
	return nil
}

// tagContenders are the product with further options, and its peer.
func (b *bench) tagContenders(options string) []puller {
	_, ours, peers := b.pullers()
	ours.start = func(s *source) (string, string, *process, error) {
		server, err := b.mirrorOf(s, options)
		if err != nil {
			return "", "", nil, err
		}
		return server.url(), "docker.io/" + pulledRepo, server.process, nil
	}
	return append([]puller{ours}, peers...)
}

// pullTag makes the thousand pulls.
func (b *bench) pullTag(url, repo string, img image) error {
	errs := make([]error, tagPullers)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			for range tagPulls / tagPullers {
				if _, errs[i] = get(url+"/v2/"+repo+"/manifests/v1", ocispec.MediaTypeImageManifest, img.manifest); errs[i] != nil {
					return
				}
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// patiently makes one pull, with a timeout. It returns the time that it took.
func (b *bench) patiently(url, repo string, img image) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience*b.size.ttl)
	defer cancel()
	begun := time.Now()
	err := pullManifest(ctx, hostOf(url), repo, img)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("none within %s", patience*b.size.ttl)
	}
	return time.Since(begun), err
}
