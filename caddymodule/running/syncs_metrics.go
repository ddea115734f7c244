package running

import "github.com/prometheus/client_golang/prometheus"

// syncsCollector reads the barriers of the storages that are open now: a counter
// that begins again when a storage is opened again.
type syncsCollector struct{}

var syncsDesc = prometheus.NewDesc("registry_storage_syncs_total",
	"Barriers of the open storages.", []string{"kind"}, nil)

func (syncsCollector) Describe(ch chan<- *prometheus.Desc) { ch <- syncsDesc }

func (syncsCollector) Collect(ch chan<- prometheus.Metric) {
	var files, directories, groups uint64
	pool.Range(func(_, value any) bool {
		f, d, g := value.(*Storage).syncs()
		files, directories, groups = files+f, directories+d, groups+g
		return true
	})
	ch <- prometheus.MustNewConstMetric(syncsDesc, prometheus.CounterValue, float64(files), "file")
	ch <- prometheus.MustNewConstMetric(syncsDesc, prometheus.CounterValue, float64(directories), "directory")
	ch <- prometheus.MustNewConstMetric(syncsDesc, prometheus.CounterValue, float64(groups), "group")
}
