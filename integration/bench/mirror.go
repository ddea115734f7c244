package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	pulledLayers = 5
	// fewPullers and manyPullers are the numbers of clients that pull one image at once. With
	// manyPullers the images are smallerBy times smaller, and the upstream is slower.
	fewPullers, manyPullers, smallerBy = 8, 100, 6
	// fastUpstream and slowUpstream are the rates of an upstream over all its connections, in
	// bytes a second.
	fastUpstream, slowUpstream = 50e6, 10e6
	// pulledRepo is the image's, at the upstream.
	pulledRepo = "library/app"
)

// puller is a way to an image that the upstream has.
type puller struct {
	name string
	// start begins with an empty storage, and returns the address to pull from; the process is
	// nil if that is the upstream itself.
	start func(*source) (url, repo string, p *process, err error)
	// toEach has the upstream send to each client as to one alone.
	toEach bool
}

// cold has the times of pulls of a cold image. With several clients at once, the total is that
// of the last one, and first has the time of each client's first byte of a layer, sorted.
type cold struct {
	first []time.Duration
	sent  time.Duration // until the upstream sent the first byte of a layer
	total time.Duration
	gets  int           // of blobs, at the upstream
	cpu   time.Duration // of the server
	peak  int64         // memory of the server, in bytes
}

func (b *bench) pullers() (direct, ours puller, peers []puller) {
	direct = puller{name: "direct pull", start: func(s *source) (string, string, *process, error) { return s.url, pulledRepo, nil, nil }}
	ours = puller{name: "caddy-registry", start: b.throughProduct}
	if b.distribution != "" {
		peers = []puller{{name: "distribution, proxy mode", start: b.throughDistribution}}
	}
	return direct, ours, peers
}

// mirrorFew measures pulls of a large image by one client and by a few.
func (b *bench) mirrorFew() error {
	direct, ours, peers := b.pullers()
	s, err := newSource(fastUpstream, pulledImage(b.size.pulled))
	if err != nil {
		return err
	}
	limit, err := b.coldPulls(s, title(s, "1 client"), append([]puller{ours, direct}, peers...), 1, b.rounds, 0)
	if err == nil {
		_, err = b.coldPulls(s, title(s, fmt.Sprintf("%d clients at once", fewPullers)), append([]puller{ours}, peers...), fewPullers, 1, limit)
	}
	return errors.Join(err, s.close())
}

// mirrorMany measures pulls by many clients at once. They and the upstream share the
// machine's cores with the server: the upstream, too, is late when hundreds of clients
// connect at once. So the time of the first byte counts from when the upstream has sent it. The
// limit is measured under the same load without a mirror: from an upstream that serves each
// client at the full rate, and from nginx, the cheapest server, which has the whole image on
// its disk.
func (b *bench) mirrorMany() error {
	direct, ours, _ := b.pullers()
	all := direct
	all.name, all.toEach = "direct pull, each as if alone", true
	s, err := newSource(slowUpstream, pulledImage(b.size.pulled/smallerBy))
	if err != nil {
		return err
	}
	limit, err := b.coldPulls(s, title(s, "1 client"), []puller{ours, direct}, 1, b.rounds, 0)
	if err == nil {
		_, err = b.coldPulls(s, title(s, fmt.Sprintf("%d clients at once", manyPullers)), []puller{ours, all, {name: "nginx, a file to each at that rate", start: b.throughNginx}}, manyPullers, b.rounds, limit)
	}
	return errors.Join(err, s.close())
}

// mirrorMemory pulls a small and a large image: memory must not follow the size.
func (b *bench) mirrorMemory() error {
	_, ours, _ := b.pullers()
	var rows [][]string
	for _, size := range []int{b.size.pulled / smallerBy, b.size.pulled} {
		s, err := newSource(slowUpstream, pulledImage(size))
		if err != nil {
			return err
		}
		c, err := b.coldPull(s, ours, manyPullers)
		if err := errors.Join(err, s.close()); err != nil {
			return err
		}
		rows = append(rows, []string{layersOf(s), fmt.Sprintf("%d MiB", c.peak>>20)})
		if c.peak > peakLimit {
			return fmt.Errorf("the server had %d MiB of memory, and may have %d", c.peak>>20, peakLimit>>20)
		}
	}
	b.table(fmt.Sprintf("Memory of cold pulls, %d clients at once", manyPullers), []string{"an image of", "peak memory"}, rows)
	return nil
}

func pulledImage(layer int) image {
	return newImage(rand.NewChaCha8([32]byte{5}), slices.Repeat([]int{layer}, pulledLayers)...)
}

func layersOf(s *source) string {
	return fmt.Sprintf("%d layers of %.4g MiB", pulledLayers, float64(len(s.image.blobs[1]))/(1<<20))
}

func title(s *source, clients string) string {
	return fmt.Sprintf("Cold pull of %s from an upstream of %.0f MB/s: %s", layersOf(s), s.rate/1e6, clients)
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
	// The turn with the median of the first bytes, as that of totals differs in nothing.
	for i := range taken {
		slices.SortFunc(taken[i], func(x, y cold) int { return int(x.p(50) - x.sent - y.p(50) + y.sent) })
	}
	totalOf := "of one client's"
	if base == 0 {
		base, totalOf = taken[1][rounds/2].total, "of the direct pull"
	}
	var rows [][]string
	for i, p := range pullers {
		c := taken[i][rounds/2]
		peak, cpu := "-", "-"
		if c.peak > 0 {
			peak, cpu = fmt.Sprintf("%d MiB", c.peak>>20), fmt.Sprintf("%.1f s", c.cpu.Seconds())
		}
		rows = append(rows, []string{p.name, millis(c.p(50)), millis(c.p(99)), millis(c.p(50) - c.sent), millis(c.p(99) - c.sent),
			fmt.Sprintf("%.2f s", c.total.Seconds()), ratio(c.total.Seconds(), base.Seconds()), fmt.Sprint(c.gets), cpu, peak})
	}
	b.table(title, []string{"", "first byte p50", "p99", "after the upstream's p50", "p99", "total", totalOf, "blob GETs upstream", "server CPU", "peak memory"}, rows)
	return taken[0][rounds/2].total, nil
}

func (c cold) p(percent int) time.Duration { return c.first[len(c.first)*percent/100] }

// coldPull is one turn.
func (b *bench) coldPull(s *source, p puller, clients int) (cold, error) {
	url, repo, server, err := p.start(s)
	if err != nil {
		return cold{}, err
	}
	s.toEach(p.toEach)
	s.reset()
	begun := time.Now()
	firsts := make([]time.Duration, clients)
	errs := make([]error, clients)
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() { firsts[i], errs[i] = b.pull(url, repo, s.image) })
	}
	group.Wait()
	asked := s.reset()
	result := cold{first: firsts, total: time.Since(begun), gets: asked.blobs}
	slices.Sort(firsts)
	result.sent = firsts[0] // a server without an upstream
	if asked.blobs > 0 {
		result.sent = asked.sent.Sub(begun)
	}
	err = first(errs)
	if server != nil {
		var cpuErr, peakErr error
		result.cpu, cpuErr = server.cpu()
		result.peak, peakErr = server.peak()
		err = errors.Join(err, cpuErr, peakErr, server.stop())
	}
	return result, err
}

// first is one of the errors: hundreds of clients fail of the same.
func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// throughProduct starts the product with a mirror of the source.
func (b *bench) throughProduct(s *source) (string, string, *process, error) {
	server, err := b.mirrorOf(s, "")
	if err != nil {
		return "", "", nil, err
	}
	return server.url(), "docker.io/" + pulledRepo, server.process, nil
}

// mirrorOf starts the product with a mirror of the source that has further options.
func (b *bench) mirrorOf(s *source, options string) (*server, error) {
	data, err := b.folder("data")
	if err != nil {
		return nil, err
	}
	server, err := b.caddy("caddy-registry", fmt.Sprintf("oci {\nstorage file %q\nmirror docker.io {\nupstream %s\n%s\n}\npolicy {\nallow anonymous *\n}\n}", data, s.url, options),
		"oci_registry", nil)
	if err != nil {
		return nil, err
	}
	return server, server.answers(b.ctx, server.url()+"/v2/_catalog?n=1")
}

// throughNginx starts nginx over the image's files. It sends as the source does, or slower: after a
// few slices a connection waits for as long as they should take, however late it is.
func (b *bench) throughNginx(s *source) (string, string, *process, error) {
	root, err := b.folder("files")
	if err != nil {
		return "", "", nil, err
	}
	repo := filepath.Join(root, "v2", filepath.FromSlash(pulledRepo))
	files := map[string][]byte{"manifests/v1": s.image.manifest}
	for digest, blob := range s.blobs {
		files["blobs/"+digest] = blob
	}
	for name, content := range files {
		path := filepath.Join(repo, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
			return "", "", nil, err
		}
	}
	server, err := b.nginxWith(root, fmt.Sprintf("limit_rate %d; sendfile_max_chunk %d;", int(s.rate)/pulledLayers, 4*slice))
	if err != nil {
		return "", "", nil, err
	}
	// Its memory is that of its workers, which is not added up here. It ends with the group.
	return server.url(), pulledRepo, nil, server.answers(b.ctx, server.url()+"/v2/"+pulledRepo+"/manifests/v1")
}

// throughDistribution starts distribution's registry as a pull-through cache.
func (b *bench) throughDistribution(s *source) (string, string, *process, error) {
	server, err := b.distributionWith(fmt.Sprintf("proxy:\n  remoteurl: %s\n", s.url))
	if err != nil {
		return "", "", nil, err
	}
	return server.url(), pulledRepo, server.process, nil
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
