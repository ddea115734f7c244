// Package soak runs the built binary under a mixed load for as long as the flag -for says, and
// checks that it does not grow: memory, goroutines and descriptors are flat under the load, and
// back where they began when it has ended.
//
//	make soak        ten minutes
//	go test ./soak   some seconds, which show only that the load and the samples work
package soak

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// sample is what the server uses at one moment.
type sample struct {
	at         time.Duration // since the load began
	requests   int64         // that have ended by then
	resident   int64         // bytes: VmRSS
	heap       int64         // bytes that are in use after a collection
	goroutines int64
	files      int64 // open descriptors that are not of directories
	folders    int64 // those of directories: the storage keeps a bounded number of them open
}

// figure is one column of samples.
type figure struct {
	name  string
	of    func(sample) int64
	unit  int64 // what is printed as 1
	slack int64 // of the growth beyond growth, for what a pull or a timer more or less makes
}

var figures = []figure{
	{"RSS MiB", func(s sample) int64 { return s.resident }, 1 << 20, 16 << 20},
	{"heap MiB", func(s sample) int64 { return s.heap }, 1 << 20, 8 << 20},
	{"goroutines", func(s sample) int64 { return s.goroutines }, 1, 20},
	{"descriptors", func(s sample) int64 { return s.files }, 1, 20},
	{"directories", func(s sample) int64 { return s.folders }, 1, 50},
}

const (
	// growth is the share by which a figure may be larger at the end, in percent.
	growth = 10
	// enough is the least number of samples that can be judged.
	enough = 40
)

// median returns the median of a figure. The samples must not be empty.
func (f figure) median(samples []sample) int64 {
	values := make([]int64, 0, len(samples))
	for _, s := range samples {
		values = append(values, f.of(s))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// quarters returns the median of a figure in each quarter of the samples.
func (f figure) quarters(samples []sample) (medians [4]int64) {
	for i := range medians {
		medians[i] = f.median(samples[i*len(samples)/4 : (i+1)*len(samples)/4])
	}
	return medians
}

// judge compares the last quarter with the second one: caches fill in the first. A median does
// not see a moment, such as a reload or a collection; and a leak moves it. Errors: one for each
// figure that has grown.
func judge(samples []sample) (errs []error) {
	if len(samples) < enough {
		return []error{fmt.Errorf("%d samples are too few to judge, at least %d are needed", len(samples), enough)}
	}
	for _, f := range figures {
		q := f.quarters(samples)
		if most := q[1] + q[1]*growth/100 + f.slack; q[3] > most {
			errs = append(errs, fmt.Errorf("%s: %d in the last quarter, %d in the second; at most %d is flat",
				f.name, q[3]/f.unit, q[1]/f.unit, most/f.unit))
		}
	}
	return errs
}

// idle compares goroutines and descriptors after the load with those before it. Memory and
// directories stay: caches are full then.
func idle(before, after sample) (errs []error) {
	for _, f := range figures[2:4] {
		if was, now := f.of(before), f.of(after); now > was+f.slack/2 {
			errs = append(errs, fmt.Errorf("%s: %d after the load, %d before it", f.name, now, was))
		}
	}
	return errs
}

// table prints the quarters of each figure, and what it was before and after the load.
func table(w io.Writer, before, after sample, samples []sample) {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "\tbefore\t1st quarter\t2nd\t3rd\tlast\tmost\tafter\t")
	for _, f := range figures {
		q := f.quarters(samples)
		most := f.of(slices.MaxFunc(samples, func(a, b sample) int { return int(f.of(a) - f.of(b)) }))
		fmt.Fprintf(out, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", f.name, f.of(before)/f.unit,
			q[0]/f.unit, q[1]/f.unit, q[2]/f.unit, q[3]/f.unit, most/f.unit, f.of(after)/f.unit)
	}
	out.Flush()
}
