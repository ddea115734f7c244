package caddymodule_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// garbage pushes a blob that no manifest will name, and an image, once the collection
// that follows a start is over.
func garbage(r *registrytest.Registry, runs float64) {
	r.Eventually("the first collection is over", func() bool {
		return r.Metric(`registry_gc_runs_total{result="ok"}`) > runs
	})
	r.PushBlob("team/app", registrytest.RandomBytes(10_000))
	r.PushImage("team/app", "v1", registrytest.RandomBytes(100))
}

// runJSON runs `registry` with arguments and --json, and reads what it printed.
func runJSON(t *testing.T, answer any, args ...string) {
	t.Helper()
	out, told, status := registrytest.Run(t, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), answer); err != nil || status != registrytest.Done {
		t.Fatalf("%s: got status %d, %s%s", args, status, out, told)
	}
}

// collections counts those of this process.
func collections(t *testing.T) float64 {
	t.Helper()
	counters := prometheus.NewRegistry()
	if err := observe.Register(counters); err != nil {
		t.Fatal(err)
	}
	families, err := counters.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "registry_gc_runs_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			if metric.GetLabel()[0].GetValue() == "ok" {
				return metric.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestCollectThroughTheRunningProcess(t *testing.T) {
	// The second directory's socket has a path that no address can hold.
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 20), strings.Repeat("path", 20))
	for _, storage := range []string{t.TempDir(), long} {
		port := registrytest.FreePort(t)
		runs := collections(t)
		r := registrytest.Serve(t, port, storage, registrytest.AllowAll+"\ngc {\ngrace 1ms\n}", "")
		garbage(r, runs)
		socket, err := os.Stat(filepath.Join(storage, control.SocketName))
		if err != nil || socket.Mode() != os.ModeSocket|0o600 {
			t.Fatalf("got a socket of mode %v, %v; want it open to its owner alone", socket.Mode(), err)
		}
		var dry, wet, again control.GCReport
		if runJSON(t, &dry, "gc", "--dry-run", "--storage", storage); dry.Private.Blobs != 1 ||
			!dry.DryRun {
			t.Errorf("dry run: got %+v, want 1 blob", dry)
		}
		if runJSON(t, &wet, "gc", "--storage", storage); wet.Collected != dry.Collected || wet.DryRun {
			t.Errorf("got %+v, want what the dry run said, %+v", wet, dry)
		}
		if runJSON(t, &again, "gc", "--storage", storage); again.Private.Blobs != 0 {
			t.Errorf("again: got %+v, want nothing left", again)
		}
		r.Want(200, "GET", "/v2/team/app/manifests/v1", nil)
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(filepath.Join(storage, control.SocketName)); !os.IsNotExist(err) {
			t.Errorf("the socket outlived the process: %v", err)
		}
	}
}

func TestCollectWithoutAProcess(t *testing.T) {
	storage, port := t.TempDir(), registrytest.FreePort(t)
	text := registrytest.Caddyfile(port, storage, registrytest.AllowAll+"\ngc {\ngrace 1ms\n}", "")
	runs := collections(t)
	registrytest.Load(t, text)
	garbage(registrytest.At(t, port), runs)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, told, status := registrytest.Run(t, "gc", "--json", "--config", config)
	if status != registrytest.Done {
		t.Fatalf("got status %d: %s", status, told)
	}
	var report control.GCReport
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Private.Blobs != 1 {
		t.Errorf("got %s, %v; want a report of 1 blob", out, err)
	}
	out, told, status = registrytest.Run(t, "gc", "--dry-run", "--storage", storage)
	if status != registrytest.Done || !strings.HasPrefix(out, "private: would remove 0 B of content: 0 blobs") ||
		!strings.Contains(out, "\nmirrors: would remove ") {
		t.Errorf("got status %d, %q and %q; want a line for people, of each tree", status, out, told)
	}
}

// The report also says how much content is left because its grace is not over.
func TestCollectReportsWhatItLeaves(t *testing.T) {
	storage, port := t.TempDir(), registrytest.FreePort(t)
	r := registrytest.Serve(t, port, storage, registrytest.AllowAll, "")
	r.PushImage("team/app", "v1", []byte("kept"))
	r.PushBlob("team/app", []byte("nobody names me"))
	for _, args := range [][]string{{"gc", "--dry-run"}, {"gc"}} {
		out, told, status := registrytest.Run(t, append(args, "--storage", storage)...)
		if want := "\nprivate: left 15 B of content that nothing keeps, because its grace is not over\n"; status != registrytest.Done || !strings.Contains(out, want) {
			t.Errorf("%v: got status %d, %q and %q, want %q", args, status, out, told, want)
		}
	}
}

func TestCommandExits(t *testing.T) {
	empty := t.TempDir()
	for _, row := range []struct {
		name   string
		args   string
		status int
	}{
		{"without a command", "", registrytest.Misuse},
		{"with an unknown command", "sweep", registrytest.Misuse},
		{"with an unknown flag", "gc --wet-run", registrytest.Misuse},
		{"with an argument too many", "gc now", registrytest.Misuse},
		{"with two locations", "gc --storage " + empty + " --config Caddyfile", registrytest.Misuse},
		{"on a directory that is not there", "gc --storage " + filepath.Join(empty, "no"), registrytest.Failed},
		{"that verifies a directory without a storage", "verify --storage " + empty, 3},
		{"with a configuration that is not there", "gc --config " + filepath.Join(empty, "Caddyfile"),
			registrytest.Failed},
		{"asked for help", "gc --help", registrytest.Done},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, told, status := registrytest.Run(t, strings.Fields(row.args)...); status != row.status {
				t.Errorf("got status %d, want %d: %s", status, row.status, told)
			}
		})
	}
	if made, err := os.ReadDir(empty); err != nil || len(made) > 0 {
		t.Errorf("a command left %v (%v) where there was no storage", made, err)
	}
}

func TestTheCollectorRunsByItself(t *testing.T) {
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll+"\ngc {\ninterval 5ms\ngrace 1ms\n}", "")
	before := r.Metric(`registry_gc_removed_total{kind="blob"}`)
	r.PushBlob("team/app", registrytest.RandomBytes(1000))
	r.Eventually("the blob is collected", func() bool {
		return r.Metric(`registry_gc_removed_total{kind="blob"}`) > before
	})
}
