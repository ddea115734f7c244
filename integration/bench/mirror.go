package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	pulledLayers = 5
	// fewPullers and manyPullers are clients that want one image at once. So many
	// make images that are smallerBy times smaller, from a slower upstream.
	fewPullers, manyPullers, smallerBy = 8, 100, 6
	// fastUpstream and slowUpstream are what an upstream sends over all its
	// connections, in bytes a second.
	fastUpstream, slowUpstream = 50e6, 10e6
	// pullBuffer is how much a puller reads at once, in bytes.
	pullBuffer = 64 << 10
	// pulledRepo is the image's, at the upstream.
	pulledRepo = "library/app"
)

// puller is a way to an image that the upstream has.
type puller struct {
	name string
	// start begins with nothing held, and returns where to pull; the process is nil
	// if that is the upstream itself.
	start func(*source) (url, repo string, p *process, err error)
}

// cold is what pulls of a cold image took: of several clients at once, the total is
// the last one's, and first has the first byte of a layer of each client, in order.
type cold struct {
	first []time.Duration
	total time.Duration
	gets  int   // of blobs, at the upstream
	peak  int64 // memory of the server, in bytes
}

// mirror measures pulls through, from an upstream that sends slowly.
func (b *bench) mirror() error {
	direct := puller{"direct pull", func(s *source) (string, string, *process, error) { return s.url, pulledRepo, nil, nil }}
	ours := puller{"caddy-registry", b.throughProduct}
	peer := puller{"distribution, proxy mode", b.throughDistribution}

	one := []puller{ours, direct}
	few := []puller{ours}
	if b.distribution != "" {
		one, few = append(one, peer), append(few, peer)
	}
	large, err := newSource(fastUpstream, pulledImage(b.size.pulled))
	if err != nil {
		return err
	}
	title := func(s *source, clients string) string {
		return fmt.Sprintf("Cold pull of %d layers of %.4g MiB from an upstream of %.0f MB/s: %s",
			pulledLayers, float64(len(s.image.blobs[1]))/(1<<20), s.rate/1e6, clients)
	}
	limit, err := b.coldPulls(large, title(large, "1 client"), one, 1, b.rounds, 0)
	if err == nil {
		_, err = b.coldPulls(large, title(large, fmt.Sprintf("%d clients at once", fewPullers)), few, fewPullers, 1, limit)
	}
	if err := errors.Join(err, large.close()); err != nil {
		return err
	}

	small, err := newSource(slowUpstream, pulledImage(b.size.pulled/smallerBy))
	if err != nil {
		return err
	}
	limit, err = b.coldPulls(small, title(small, "1 client"), []puller{ours, direct}, 1, 1, 0)
	if err == nil {
		_, err = b.coldPulls(small, title(small, fmt.Sprintf("%d clients at once", manyPullers)), []puller{ours}, manyPullers, 1, limit)
	}
	if err := errors.Join(err, small.close()); err != nil {
		return err
	}
	return b.warm()
}

func pulledImage(layer int) image {
	return newImage(rand.NewChaCha8([32]byte{5}), slices.Repeat([]int{layer}, pulledLayers)...)
}

// coldPulls is a table of pullers, of medians over rounds. The first puller is the
// product; totals are divided by base, or by those of the second puller if base is 0.
// It returns the total of the product.
func (b *bench) coldPulls(s *source, title string, pullers []puller, clients, rounds int, base time.Duration) (time.Duration, error) {
	taken := make([][]cold, len(pullers))
	for range rounds {
		for i, p := range pullers {
			c, err := b.coldPull(s, p, clients)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", p.name, err)
			}
			taken[i] = append(taken[i], c)
		}
	}
	totalOf := "of one client's"
	for i := range taken {
		slices.SortFunc(taken[i], func(x, y cold) int { return int(x.total - y.total) })
	}
	if base == 0 {
		base, totalOf = taken[1][rounds/2].total, "of the direct pull"
	}
	var rows [][]string
	for i, p := range pullers {
		c := taken[i][rounds/2]
		peak := "-"
		if c.peak > 0 {
			peak = fmt.Sprintf("%d MiB", c.peak>>20)
		}
		rows = append(rows, []string{p.name,
			millis(c.first[len(c.first)/2]), millis(c.first[len(c.first)*99/100]),
			fmt.Sprintf("%.2f s", c.total.Seconds()), ratio(c.total.Seconds(), base.Seconds()), fmt.Sprint(c.gets), peak})
	}
	b.table(title, []string{"", "first byte p50", "p99", "total", totalOf, "blob GETs upstream", "peak memory"}, rows)
	return taken[0][rounds/2].total, nil
}

// coldPull is one turn.
func (b *bench) coldPull(s *source, p puller, clients int) (cold, error) {
	url, repo, server, err := p.start(s)
	if err != nil {
		return cold{}, err
	}
	s.reset()
	begun := time.Now()
	firsts := make([]time.Duration, clients)
	errs := make([]error, clients)
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() { firsts[i], errs[i] = b.pull(url, repo, s.image) })
	}
	group.Wait()
	result := cold{first: firsts, total: time.Since(begun), gets: s.reset()}
	slices.Sort(firsts)
	err = errors.Join(errs...)
	if server != nil {
		peak, peakErr := server.peak()
		result.peak = peak
		err = errors.Join(err, peakErr, server.stop())
	}
	return result, err
}

// pull gets an image by tag, all its blobs at once, and counts the bytes. It returns
// when the first byte of a layer had come.
func (b *bench) pull(url, repo string, img image) (time.Duration, error) {
	begun := time.Now()
	if _, err := get(url+"/v2/"+repo+"/manifests/v1", ocispec.MediaTypeImageManifest, img.manifest); err != nil {
		return 0, err
	}
	firsts := make([]time.Duration, len(img.blobs))
	errs := make([]error, len(img.blobs))
	var group sync.WaitGroup
	for i := range img.blobs {
		group.Go(func() {
			errs[i] = func() error {
				request, err := http.NewRequestWithContext(b.ctx, http.MethodGet, url+"/v2/"+repo+"/blobs/"+img.digests[i].String(), nil)
				if err != nil {
					return err
				}
				response, err := client.Do(request)
				if err != nil {
					return err
				}
				defer response.Body.Close()
				buffer := make([]byte, pullBuffer)
				n, err := response.Body.Read(buffer)
				firsts[i] = time.Since(begun)
				var rest int64
				if err == nil {
					rest, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, response.Body, buffer)
				} else if err == io.EOF {
					err = nil
				}
				if got := int64(n) + rest; err == nil && (response.StatusCode != http.StatusOK || got != int64(len(img.blobs[i]))) {
					err = fmt.Errorf("GET %s: %s, %d bytes of %d", request.URL, response.Status, got, len(img.blobs[i]))
				}
				return err
			}()
		})
	}
	group.Wait()
	return slices.Min(firsts[1:]), errors.Join(errs...)
}

// throughProduct starts the product with a mirror of the source.
func (b *bench) throughProduct(s *source) (string, string, *process, error) {
	data, err := b.folder("data")
	if err != nil {
		return "", "", nil, err
	}
	server, err := b.mirrorOf(s, data)
	if err != nil {
		return "", "", nil, err
	}
	return server.url(), "docker.io/" + pulledRepo, server.process, nil
}

func (b *bench) mirrorOf(s *source, data string) (*server, error) {
	server, err := b.caddy("caddy-registry", fmt.Sprintf("oci {\nstorage file %q\nmirror docker.io {\nupstream %s\n}\npolicy {\nallow anonymous *\n}\n}", data, s.url),
		"oci_registry", nil)
	if err != nil {
		return nil, err
	}
	return server, server.answers(b.ctx, server.url()+"/v2/_catalog?n=1")
}

// throughDistribution starts distribution's registry as a pull-through cache.
func (b *bench) throughDistribution(s *source) (string, string, *process, error) {
	server, err := b.distributionWith(fmt.Sprintf("proxy:\n  remoteurl: %s\n", s.url))
	if err != nil {
		return "", "", nil, err
	}
	return server.url(), pulledRepo, server.process, nil
}

// warm measures GET of a blob that a mirror holds beside a private one.
func (b *bench) warm() error {
	s, err := newSource(0, newImage(rand.NewChaCha8([32]byte{6}), int(b.size.blob)))
	if err != nil {
		return err
	}
	defer s.close() // what was sent before is right
	data, err := b.folder("data")
	if err != nil {
		return err
	}
	server, err := b.mirrorOf(s, data)
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
	return b.compare(fmt.Sprintf("GET of a blob of %d MiB that is held, %d at a time", b.size.blob>>20, downloaders), "MiB/s", "CPU per MiB", 1, contenders)
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
