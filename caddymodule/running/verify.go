package running

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/core/verify"
)

// serveVerify verifies in the running process. It ends if the caller disconnects.
func (s *Storage) serveVerify(w http.ResponseWriter, r *http.Request) {
	trees, err := s.Acquire(r.Context())
	if err != nil {
		control.Answer(w, nil, err)
		return
	}
	defer s.Release()
	query := r.URL.Query()
	report, err := trees.Verify(r.Context(), verify.Options{Repair: query.Get("repair") == "true", Repository: query.Get("repository")})
	control.Answer(w, report, err)
}

// Verify verifies once, including the records of identity unless a repository is given.
func (t *Trees) Verify(ctx context.Context, o verify.Options) (*verify.Report, error) {
	report, err := t.verifying.Run(ctx, o)
	if err != nil || o.Repository != "" {
		return report, err
	}
	damaged, err := t.damagedIdentity(ctx)
	for _, problem := range damaged {
		report.AddRecord(storage.IdentityTree, problem)
	}
	return report, err
}

// Metrics of verifications, for the storages that are open now: the counters begin again when
// a storage is opened again.
//
//	registry_verify_read_bytes_total                      bytes that were read
//	registry_verify_damaged_total{tree}                   damaged or missing content that was found
//	registry_verify_last_finished_timestamp_seconds       end of the last run over everything
//	registry_quarantine_objects{tree}, registry_quarantine_bytes{tree}   the content of the quarantine
var (
	verifyReadDesc = prometheus.NewDesc("registry_verify_read_bytes_total",
		"Bytes of content that were read to verify it.", nil, nil)
	verifyDamagedDesc = prometheus.NewDesc("registry_verify_damaged_total",
		"What verifications have found damaged or missing.", []string{"tree"}, nil)
	verifyFinishedDesc = prometheus.NewDesc("registry_verify_last_finished_timestamp_seconds",
		"When the last verification of everything ended.", nil, nil)
	quarantineObjectsDesc = prometheus.NewDesc("registry_quarantine_objects",
		"Objects in the quarantine.", []string{"tree"}, nil)
	quarantineBytesDesc = prometheus.NewDesc("registry_quarantine_bytes",
		"Bytes in the quarantine.", []string{"tree"}, nil)
)

// verifyCollector reads the Stats of the open storages.
type verifyCollector struct{}

func (verifyCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{verifyReadDesc, verifyDamagedDesc, verifyFinishedDesc, quarantineObjectsDesc, quarantineBytesDesc} {
		ch <- desc
	}
}

func (verifyCollector) Collect(ch chan<- prometheus.Metric) {
	var sum verify.Stats
	damaged, quarantine := map[string]int{}, map[string]verify.Amount{}
	pool.Range(func(_, value any) bool {
		stats := value.(*Storage).verified()
		sum.ReadBytes += stats.ReadBytes
		if stats.Finished.After(sum.Finished) {
			sum.Finished = stats.Finished
		}
		for _, tree := range []string{storage.PrivateTree, storage.MirrorsTree} {
			damaged[tree] += stats.Damaged[tree]
			in := quarantine[tree]
			in.Objects, in.Bytes = in.Objects+stats.Quarantine[tree].Objects, in.Bytes+stats.Quarantine[tree].Bytes
			quarantine[tree] = in
		}
		return true
	})
	ch <- prometheus.MustNewConstMetric(verifyReadDesc, prometheus.CounterValue, float64(sum.ReadBytes))
	if !sum.Finished.IsZero() {
		ch <- prometheus.MustNewConstMetric(verifyFinishedDesc, prometheus.GaugeValue, float64(sum.Finished.UnixMilli())/1e3)
	}
	for tree, in := range quarantine {
		ch <- prometheus.MustNewConstMetric(verifyDamagedDesc, prometheus.CounterValue, float64(damaged[tree]), tree)
		ch <- prometheus.MustNewConstMetric(quarantineObjectsDesc, prometheus.GaugeValue, float64(in.Objects), tree)
		ch <- prometheus.MustNewConstMetric(quarantineBytesDesc, prometheus.GaugeValue, float64(in.Bytes), tree)
	}
}

// verified returns the results of verifications of the open storage.
func (s *Storage) verified() verify.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trees == nil {
		return verify.Stats{}
	}
	return s.trees.verifying.Stats()
}
