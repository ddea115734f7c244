package soak

import (
	"strings"
	"testing"
	"time"
)

// series makes samples of a load of ten minutes from change, which gets a usual sample.
func series(change func(i int, s *sample)) []sample {
	samples := make([]sample, 200)
	for i := range samples {
		noise := int64(i*7919%13) - 6 // the same in each quarter
		samples[i] = sample{
			at: time.Duration(i) * 3 * time.Second, requests: int64(i) * 100,
			resident: 150<<20 + noise<<20, heap: 40<<20 + noise<<18, goroutines: 90 + noise, files: 60 + noise, folders: 400,
		}
		change(i, &samples[i])
	}
	return samples
}

func TestJudge(t *testing.T) {
	for name, row := range map[string]struct {
		change func(i int, s *sample)
		want   string // in the error; empty: none
	}{
		"flat":                            {func(int, *sample) {}, ""},
		"caches that fill at the start":   {func(i int, s *sample) { s.heap += min(int64(i), 40) << 20 }, ""},
		"a peak at each reload":           {func(i int, s *sample) { s.goroutines += int64(i%10/9) * 500 }, ""},
		"one high sample at the end":      {func(i int, s *sample) { s.resident += int64(i/199) << 30 }, ""},
		"256 KiB a second of heap":        {func(i int, s *sample) { s.heap += int64(i) * 3 << 18 }, "heap MiB: "},
		"RSS that grows beside the heap":  {func(i int, s *sample) { s.resident += int64(i) << 19 }, "RSS MiB: "},
		"a goroutine at each second tick": {func(i int, s *sample) { s.goroutines += int64(i / 2) }, "goroutines: "},
		"a descriptor at each reload":     {func(i int, s *sample) { s.files += int64(i / 3) }, "descriptors: "},
		"directories without a bound":     {func(i int, s *sample) { s.folders += int64(i) * 2 }, "directories: "},
	} {
		t.Run(name, func(t *testing.T) {
			errs := judge(series(row.change))
			switch {
			case row.want == "" && len(errs) != 0:
				t.Errorf("got %v, want no error", errs)
			case row.want != "" && (len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), row.want)):
				t.Errorf("got %v, want one error that begins with %q", errs, row.want)
			}
		})
	}
	if errs := judge(series(func(int, *sample) {})[:enough-1]); len(errs) != 1 {
		t.Errorf("too few samples: got %v, want an error", errs)
	}
}

func TestIdle(t *testing.T) {
	before := sample{goroutines: 40, files: 30, heap: 10 << 20}
	for name, row := range map[string]struct {
		after sample
		want  int
	}{
		"back":                 {sample{goroutines: 45, files: 28, heap: 80 << 20}, 0},
		"goroutines that stay": {sample{goroutines: 60, files: 30}, 1},
		"both stay":            {sample{goroutines: 60, files: 60}, 2},
	} {
		if errs := idle(before, row.after); len(errs) != row.want {
			t.Errorf("%s: got %v, want %d errors", name, errs, row.want)
		}
	}
}
