package running

import "github.com/prometheus/client_golang/prometheus"

// heldDesc is labelled with the mirrors that have stored content: configurations choose their
// names, clients do not.
var heldDesc = prometheus.NewDesc("registry_mirror_held_bytes",
	"Bytes that a mirror holds, each blob counted once.", []string{"mirror"}, nil)

// heldCollector reads how much the mirrors of the open storages hold, as of the evictors' last
// scan.
type heldCollector struct{}

func (heldCollector) Describe(ch chan<- *prometheus.Desc) { ch <- heldDesc }

func (heldCollector) Collect(ch chan<- prometheus.Metric) {
	held := map[string]int64{}
	pool.Range(func(_, value any) bool {
		for name, bytes := range value.(*Storage).held() {
			held[name] += bytes
		}
		return true
	})
	for name, bytes := range held {
		ch <- prometheus.MustNewConstMetric(heldDesc, prometheus.GaugeValue, float64(bytes), name)
	}
}

// held returns how much the mirrors of the storage hold, if it is open.
func (s *Storage) held() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trees == nil {
		return nil
	}
	return s.trees.keeping.evictor.Held()
}
