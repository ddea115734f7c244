package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// startLimit bounds the wait for the first answer; the machine may be busy.
	startLimit = 60 * time.Second
	// stopLimit bounds the wait for the end after SIGTERM.
	stopLimit = 30 * time.Second
	// pollEvery is how often a condition is checked, and so the precision of a start time.
	pollEvery = 2 * time.Millisecond
	// clockTick is the unit of CPU times in /proc (USER_HZ, 100 on every Linux).
	clockTick = 10 * time.Millisecond
)

// process is a server that this run started.
type process struct {
	cmd    *exec.Cmd
	log    string // file
	begun  time.Time
	exited chan struct{}
}

// launch starts a server. It is stopped with the group that started it.
func (b *bench) launch(env []string, program string, args ...string) (*process, error) {
	dir, err := b.folder("run")
	if err != nil {
		return nil, err
	}
	p := &process{log: dir + "/log", exited: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(program, args...)
	p.cmd.Dir = dir
	p.cmd.Env = append(append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.begun = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.cmd.Wait() // the exit status does not matter
		close(p.exited)
	}()
	b.running = append(b.running, p)
	return p, nil
}

// answers waits until url is answered with 200.
func (p *process) answers(ctx context.Context, url string) error {
	return p.eventually(ctx, func() bool {
		response, err := client.Get(url)
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

// logs waits until the log has a text.
func (p *process) logs(ctx context.Context, text string) error {
	return p.eventually(ctx, func() bool {
		data, err := os.ReadFile(p.log)
		return err == nil && bytes.Contains(data, []byte(text))
	})
}

func (p *process) eventually(ctx context.Context, condition func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
			continue
		case <-p.exited:
		case <-ctx.Done():
		}
		log, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s is not as expected: %s", p.cmd.Path, log)
	}
	return nil
}

// stop ends the process: politely, and by force if that takes too long. Errors: when
// force was needed.
func (p *process) stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it is gone
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopLimit):
		p.kill()
		return fmt.Errorf("%s was still there %s after SIGTERM", p.cmd.Path, stopLimit)
	}
}

// kill ends the process as a crash does.
func (p *process) kill() {
	p.cmd.Process.Kill() // an error means that it is gone
	<-p.exited
}

func (b *bench) stopAll() error {
	var errs []error
	for _, p := range b.running {
		errs = append(errs, p.stop())
	}
	b.running = nil
	return errors.Join(errs...)
}

// cpu is the time that the process and its children (nginx's workers) have computed.
func (p *process) cpu() (time.Duration, error) {
	pid := strconv.Itoa(p.cmd.Process.Pid)
	children, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, pid := range append(strings.Fields(string(children)), pid) {
		used, err := cpuOf(pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

func cpuOf(pid string) (time.Duration, error) {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, err
	}
	// The second field is the program's name, which may have anything in it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const utime, stime = 14 - 3, 15 - 3 // proc_pid_stat(5) counts from 1
	var ticks int64
	for _, field := range []string{fields[utime], fields[stime]} {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// peak is the largest resident set that the process had, in bytes.
func (p *process) peak() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, "VmHWM:"); found {
			kilobytes, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, errors.New("the kernel does not report VmHWM")
}
