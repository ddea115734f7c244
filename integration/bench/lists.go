package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// smallerTags is how many tags the smaller repository of the lists has.
	smallerTags = 1000
	// pageSize is how many tags are requested.
	pageSize = 100
	// tenTags is how many tags each repository of the started storage has.
	tenTags = 10
)

// tagPages measures one page of tags of a small and of a large repository.
func (b *bench) tagPages() error {
	data, err := b.folder("data")
	if err != nil {
		return err
	}
	sizes := []int{smallerTags, b.size.pageTags}
	repo := func(size int) string { return fmt.Sprintf("team/tags%d", size) }
	err = generate(b.ctx, data, func(put putTags) error {
		for _, size := range sizes {
			if err := put(repo(size), indexManifest("tags"), tagNames(size)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s, err := b.registry(data)
	if err != nil {
		return err
	}
	var contenders []contender
	for _, size := range sizes {
		tags := tagNames(size)
		want, err := json.Marshal(struct {
			Name string   `json:"name"`
			Tags []string `json:"tags"`
		}{repo(size), tags[size/2+1 : size/2+1+pageSize]})
		if err != nil {
			return err
		}
		path := fmt.Sprintf("/v2/%s/tags/list?n=%d&last=%s", repo(size), pageSize, tags[size/2])
		c, err := b.asked(fmt.Sprintf("%d tags", size), s, path, "application/json", append(want, '\n'))
		if err != nil {
			return err
		}
		contenders = append(contenders, c)
	}
	return b.compare(fmt.Sprintf("A page of %d tags, from the middle of the list", pageSize), "requests/s", "CPU per request", 0, contenders)
}

// starts measures a start: of a storage that was closed cleanly, of one whose
// index is missing, and of one whose server was killed.
func (b *bench) starts() error {
	data, err := b.folder("data")
	if err != nil {
		return err
	}
	repo := func(i int) string { return fmt.Sprintf("team%d/app%d", i%100, i) }
	begun := time.Now()
	err = generate(b.ctx, data, func(put putTags) error {
		for i := range b.size.repos {
			if err := put(repo(i), indexManifest(repo(i)), tagNames(tenTags)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\nA storage of %d repositories with %d tags each was made in %.0f s.\n", b.size.repos, tenTags, time.Since(begun).Seconds())
	var rows [][]string
	for _, c := range []struct {
		name    string
		before  func() error
		rebuilt bool
	}{
		{"after a good stop", func() error { return nil }, false},
		{"after a good stop, without the index", func() error { return os.Remove(indexPath(data)) }, true},
		{"after kill -9", func() error {
			s, _, err := b.started(data, repo(0), false)
			if err == nil {
				s.kill()
			}
			return err
		}, true},
	} {
		var answered, whole []time.Duration
		for range b.rounds {
			if err := c.before(); err != nil {
				return err
			}
			s, times, err := b.started(data, repo(b.size.repos/2), c.rebuilt)
			if err != nil {
				return err
			}
			answered, whole = append(answered, times[0]), append(whole, times[1])
			if err := s.stop(); err != nil {
				return err
			}
		}
		slices.Sort(answered)
		slices.Sort(whole)
		row := []string{c.name, fmt.Sprintf("%.2f s", answered[b.rounds/2].Seconds()), "-"}
		if c.rebuilt {
			row[2] = fmt.Sprintf("%.2f s", whole[b.rounds/2].Seconds())
		}
		rows = append(rows, row)
	}
	b.table(fmt.Sprintf("Start with %d repositories and %d tags", b.size.repos, b.size.repos*tenTags),
		[]string{"", "first manifest answered", "index rebuilt"}, rows)
	return nil
}

// started starts a server and returns how long it took to answer the first GET of a manifest
// and, if requested, to complete its index, both since the start of the process.
func (b *bench) started(data, repo string, rebuilt bool) (s *server, times [2]time.Duration, err error) {
	if s, err = b.registry(data); err != nil {
		return nil, times, err
	}
	path := "/v2/" + repo + "/manifests/" + tagNames(tenTags)[0]
	if err := s.answers(b.ctx, s.url()+path); err != nil {
		return nil, times, err
	}
	times[0] = time.Since(s.begun)
	if rebuilt {
		err = s.logs(b.ctx, "index rebuilt")
		times[1] = time.Since(s.begun)
	}
	if err != nil {
		return nil, times, err
	}
	_, err = get(s.url()+path, ocispec.MediaTypeImageIndex, indexManifest(repo))
	return s, times, err
}
