package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// sample is one turn of one contender.
type sample struct {
	rate float64       // units a second
	cpu  time.Duration // of the server, for each unit
}

// contender does its turn of the work: always the same, each time on new content
// where content matters.
type contender struct {
	name string
	turn func() (sample, error)
}

// medians runs the contenders in turns, and returns the medians of each.
func (b *bench) medians(contenders []contender) ([]sample, error) {
	rates := make([][]float64, len(contenders))
	cpus := make([][]time.Duration, len(contenders))
	for range b.rounds {
		for i, c := range contenders {
			if err := b.ctx.Err(); err != nil {
				return nil, err
			}
			s, err := c.turn()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			rates[i], cpus[i] = append(rates[i], s.rate), append(cpus[i], s.cpu)
		}
	}
	result := make([]sample, len(contenders))
	for i := range contenders {
		slices.Sort(rates[i])
		slices.Sort(cpus[i])
		result[i] = sample{rates[i][b.rounds/2], cpus[i][b.rounds/2]}
	}
	return result, nil
}

// timed measures work that a server does: units of it.
func timed(p *process, work func() (units float64, err error)) (sample, error) {
	before, err := p.cpu()
	if err != nil {
		return sample{}, err
	}
	begun := time.Now()
	units, err := work()
	took := time.Since(begun)
	if err != nil {
		return sample{}, err
	}
	after, err := p.cpu()
	return sample{units / took.Seconds(), time.Duration(float64(after-before) / units)}, err
}

// table prints a Markdown table.
func (b *bench) table(title string, head []string, rows [][]string) {
	line := func(cells []string) { fmt.Fprintf(b.out, "| %s |\n", strings.Join(cells, " | ")) }
	fmt.Fprintf(b.out, "\n### %s\n\n", title)
	line(head)
	line(slices.Repeat([]string{"---"}, len(head)))
	for _, row := range rows {
		line(row)
	}
}

// compare is a table of contenders; the first is the product, and base the one that
// its figures are divided by.
func (b *bench) compare(title, rateHead, cpuHead string, base int, contenders []contender) error {
	samples, err := b.medians(contenders)
	if err != nil {
		return err
	}
	var rows [][]string
	for i, c := range contenders {
		rows = append(rows, []string{c.name,
			fmt.Sprintf("%.0f", samples[i].rate), ratio(samples[i].rate, samples[base].rate),
			micros(samples[i].cpu), ratio(float64(samples[i].cpu), float64(samples[base].cpu))})
	}
	b.table(title, []string{"", rateHead, "of " + contenders[base].name, cpuHead, "of " + contenders[base].name}, rows)
	return nil
}

func ratio(value, base float64) string {
	if base == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", value/base)
}

func micros(d time.Duration) string {
	if d > 10*time.Millisecond {
		return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.0f µs", float64(d)/float64(time.Microsecond))
}

// machine describes the machine of the measurement.
func (b *bench) machine() error {
	model := "unknown processor"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(b.dir, &disk); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%s. %d cores of %s; Linux %s; file system type 0x%x at %s; load before the start %s.\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), model, strings.TrimSpace(string(release)),
		disk.Type, b.dir, strings.Fields(string(load))[0])
	for _, program := range [][]string{{b.product, "version"}, {b.distribution, "--version"}, {b.nginx, "-v"}} {
		if program[0] == "" {
			continue
		}
		// nginx prints its version on the standard error.
		out, err := exec.Command(program[0], program[1]).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s %s: %w", program[0], program[1], err)
		}
		fmt.Fprintf(b.out, "- %s\n", strings.TrimSpace(string(out)))
	}
	return nil
}
