package running

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/eblume/caddy-registry/caddymodule/built"
	"github.com/eblume/caddy-registry/caddymodule/census"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/core/cache/redis"
	"github.com/eblume/caddy-registry/core/evict"
	"github.com/eblume/caddy-registry/core/upstream"
)

// Metrics of the state of the open storages. docs/look-up/metrics.md describes each. All but the
// build and the tasks are read when they are scraped, from memory: a scrape touches no disk.
var (
	storageDesc    = gauge("registry_storage_bytes", "Bytes of content by tree, each blob counted once.", "tree")
	repositoryDesc = gauge("registry_storage_repository_bytes",
		"Bytes of the largest private repositories that anonymous callers may read; other: all the rest.", "repository")
	diskFreeDesc  = gauge("registry_disk_free_bytes", "Bytes that may be written yet to the disk of a tree.", "tree")
	diskSizeDesc  = gauge("registry_disk_size_bytes", "Bytes of the disk of a tree.", "tree")
	indexDesc     = gauge("registry_index_ready", "Whether lists are answered from the index (1) or scan the storage (0).", "tree")
	uploadsDesc   = gauge("registry_uploads_open", "Unfinished uploads that clients have begun or continued since the start.")
	downloadsDesc = gauge("registry_mirror_downloads", "Blobs that a mirror is downloading.", "mirror")
	readersDesc   = gauge("registry_mirror_download_readers", "Clients that wait for downloads or follow them.", "mirror")
	upstreamDesc  = gauge("registry_mirror_upstream_state", "1 for the state in which the last requests left an upstream.", "mirror", "state")
	redisDesc     = gauge("registry_redis_state", "1 for the state in which the last questions left Redis.", "state")
	memoryDesc    = gauge("registry_manifest_memory_bytes", "Bytes of manifests that are reserved while they are received or sent.", "use")
	buildDesc     = gauge("registry_build_info", "1, with what this program was built from.", "version", "commit", "go", "caddy")

	stateDescs = []*prometheus.Desc{
		storageDesc, repositoryDesc, diskFreeDesc, diskSizeDesc, indexDesc, uploadsDesc,
		downloadsDesc, readersDesc, upstreamDesc, redisDesc, memoryDesc, buildDesc,
	}
)

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// state is the sum of the states of the open storages. There is only one, except while a reload
// switches to another.
type state struct {
	trees, free, size, indexed map[string]int64
	repositories               map[string]int64
	downloads, readers         map[string]int64
	uploads                    int64
	upstreams                  map[string]upstream.State
	redis                      redis.State // empty: not configured
}

// stateCollector reads the state of the open storages.
type stateCollector struct{}

func (stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range stateDescs {
		ch <- desc
	}
}

func (stateCollector) Collect(ch chan<- prometheus.Metric) {
	sum := state{
		trees: map[string]int64{}, free: map[string]int64{}, size: map[string]int64{}, indexed: map[string]int64{},
		repositories: map[string]int64{}, downloads: map[string]int64{}, readers: map[string]int64{},
		upstreams: map[string]upstream.State{},
	}
	pool.Range(func(_, value any) bool {
		value.(*Storage).addState(&sum)
		return true
	})
	send := func(desc *prometheus.Desc, value int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	for desc, values := range map[*prometheus.Desc]map[string]int64{
		storageDesc: sum.trees, repositoryDesc: sum.repositories, diskFreeDesc: sum.free, diskSizeDesc: sum.size,
		indexDesc: sum.indexed, downloadsDesc: sum.downloads, readersDesc: sum.readers,
	} {
		for label, value := range values {
			send(desc, value, label)
		}
	}
	send(uploadsDesc, sum.uploads)
	for name, is := range sum.upstreams {
		for _, possible := range upstream.States {
			send(upstreamDesc, one(is == possible), name, string(possible))
		}
	}
	if sum.redis != "" {
		for _, possible := range redis.States {
			send(redisDesc, one(sum.redis == possible), string(possible))
		}
	}
	send(memoryDesc, Received.Used(), "received")
	send(memoryDesc, Sent.Used(), "sent")
	b := built.From()
	send(buildDesc, 1, b.Version, b.Commit, b.Go, b.Caddy)
}

func one(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// otherRepositories is the label of all repositories without their own label. A repository with
// this name is counted with them.
const otherRepositories = "other"

// addState adds the state of the storage, if it is open.
func (s *Storage) addState(sum *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trees == nil {
		return
	}
	counts := s.trees.keeping.census.Last()
	for tree, bytes := range counts.Trees {
		sum.trees[tree] += bytes
	}
	if counts.Trees != nil {
		sum.repositories[otherRepositories] += counts.Other
	}
	for _, r := range counts.Largest {
		sum.repositories[r.Name] += r.Bytes
	}
	for tree, space := range counts.Spaces {
		sum.free[tree], sum.size[tree] = space.Free, space.Total
	}
	sum.indexed[storage.PrivateTree], sum.indexed[storage.MirrorsTree] = one(s.trees.Private.Indexed()), one(s.trees.Mirrors.Indexed())
	sum.uploads += int64(s.trees.pushes.OpenUploads())
	if len(s.settings) == 0 {
		return
	}
	last := s.settings[len(s.settings)-1]
	for _, spec := range last.Mirrors {
		m := s.mirrors[spec.Key]
		if m == nil {
			continue
		}
		running, readers := m.Downloads()
		sum.downloads[spec.Name] += int64(running)
		sum.readers[spec.Name] += int64(readers)
		sum.upstreams[spec.Name], _ = m.client.State()
	}
	if shared, ok := last.Cache.(redisState); ok {
		sum.redis = shared.State()
	}
}

// newCensus begins to count the stored content of the trees.
func newCensus(t *Trees, log *slog.Logger) *census.Census {
	c := census.Config{
		Trees:   map[string]census.Tree{storage.PrivateTree: t.Private, storage.MirrorsTree: t.Mirrors},
		Named:   storage.PrivateTree,
		Disks:   map[string]census.Disk{},
		Counted: func() { observe.Succeeded(observe.TaskCount) },
		Log:     log,
	}
	for tree, directory := range map[string]string{storage.PrivateTree: t.privateDisk, storage.MirrorsTree: t.mirrorsDisk} {
		if directory != "" {
			c.Disks[tree] = evict.DiskOf(directory)
		}
	}
	return census.New(c)
}

// Collectors are metrics of the storages that are open.
func Collectors() []prometheus.Collector {
	return []prometheus.Collector{syncsCollector{}, keysCollector{}, heldCollector{}, verifyCollector{}, stateCollector{}}
}
