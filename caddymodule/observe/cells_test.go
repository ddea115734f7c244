package observe

import (
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/eblume/caddy-registry/core/wire"
)

func TestCellsAreThoseOfTheVector(t *testing.T) {
	vector := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "x"}, []string{"action", "source"})
	c := cells[prometheus.Gauge]{make: vector.WithLabelValues}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for kind := wire.Kind(0); kind <= wire.Catalog+1; kind++ { // none, each, and one too many
				for _, source := range []string{"held", "stale"} {
					if c.get(kind, source) != vector.WithLabelValues(kind.String(), source) {
						t.Errorf("%s from %s is another metric", kind, source)
					}
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkCountRequest(b *testing.B) {
	b.ReportAllocs()
	o := wire.Outcome{Kind: wire.Manifest, Status: 200, Sent: 10}
	for b.Loop() {
		CountRequest(o, SourceOf(o, "team/app", ""), "GET", o.First)
	}
}
