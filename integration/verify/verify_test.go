// Package verify damages the storage of the built binary and has `registry verify` find
// it, with a server and without one, and a real client or the upstream heal it.
package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/mirror"
	"github.com/eblume/caddy-registry/integration/server"
)

const (
	patience = time.Minute
	local    = "team/app"
	mirrored = "docker.io/library/app"
)

// report is the output of --json, as a script parses it.
type report struct {
	Read    map[string]struct{ Objects, Bytes, Manifests, Records int }
	Damaged []struct {
		Tree, Kind, Problem string
		Digest              digest.Digest
		Quarantined         bool
		Images              []struct {
			Repository string
			Manifests  []digest.Digest
			Tags       []string
		}
	}
	Absent, Trouble []json.RawMessage
	Found           found
	Moved           int
	Quarantine      map[string]struct{ Objects, Bytes int }
}

type found struct{ Damaged, Absent, Trouble int }

// registry is a server with an image in either tree.
type registry struct {
	*server.Server
	t      *testing.T
	client *client.Client
	hub    *upstreamtest.Upstream
	config string
	image  client.Image // pushed, and mirrored
}

func start(t *testing.T, options string) *registry {
	t.Helper()
	r := &registry{t: t, hub: upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub}), image: client.NewImage(1, 2, 50_000)}
	for _, blob := range r.image.Blobs {
		r.hub.Blob("library/app", blob)
	}
	r.hub.Manifest("library/app", ocispec.MediaTypeImageManifest, r.image.Manifest, "v1")
	o := mirror.Options{OCI: mirror.Block("docker.io", r.hub) + options}
	r.Server = mirror.Start(t, o)
	r.config = filepath.Join(t.TempDir(), "Caddyfile")
	must(t, os.WriteFile(r.config, []byte(o.Caddyfile()), 0o600))
	r.client = client.New(r.URL)
	t.Cleanup(r.client.Close)
	must(t, r.client.PushImage(t.Context(), local, "v1", r.image))
	r.pulls(local)
	r.pulls(mirrored)
	return r
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// pulls pulls the image whole.
func (r *registry) pulls(repo string) {
	r.t.Helper()
	if got, err := r.client.PullImage(r.t.Context(), repo, "v1"); err != nil || got != r.image.Digest() {
		r.t.Errorf("pull of %s: %s, %v", repo, got, err)
	}
}

// status is the answer to a HEAD and a GET, which must agree.
func (r *registry) status(path string) int {
	r.t.Helper()
	var got [2]int
	for i, method := range []string{"HEAD", "GET"} {
		request, err := http.NewRequestWithContext(r.t.Context(), method, r.URL+path, nil)
		must(r.t, err)
		response, err := http.DefaultClient.Do(request)
		must(r.t, err)
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		got[i] = response.StatusCode
	}
	if got[0] != got[1] {
		r.t.Errorf("HEAD of %s: %d, GET: %d", path, got[0], got[1])
	}
	return got[1]
}

// verify runs the command and returns its report.
func (r *registry) verify(want int, args ...string) report {
	r.t.Helper()
	out, said, status := r.command(append([]string{"--json"}, args...)...)
	var report report
	decoder := json.NewDecoder(strings.NewReader(out))
	if err := decoder.Decode(&report); err != nil || status != want {
		r.t.Fatalf("verify %q: status %d, %v, %s%s; want status %d", args, status, err, out, said, want)
	}
	return report
}

func (r *registry) command(args ...string) (out, said string, status int) {
	r.t.Helper()
	cmd := r.Command(r.t.Context(), r.t, append([]string{"registry", "verify", "--config", r.config, "--adapter", "caddyfile"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		status = failed.ExitCode()
	} else {
		must(r.t, err)
	}
	return stdout.String(), stderr.String(), status
}

// trees are the directories of the objects.
var trees = map[string]string{"private": "private/objects", "mirrors": "mirrors/content/objects"}

// content is the file of content in a tree, which is durable by now.
func (r *registry) content(tree string, d digest.Digest) string {
	return filepath.Join(r.Data, filepath.FromSlash(trees[tree]), "blobs", d.Algorithm().String(), d.Encoded()[:2], d.Encoded())
}

// damage flips a byte of a file as soon as the file exists.
func (r *registry) damage(file string) {
	r.t.Helper()
	must(r.t, server.Eventually(patience, func() (bool, error) {
		data, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		if err == nil {
			data[len(data)/2] ^= 1
			err = os.WriteFile(file, data, 0o600)
		}
		return err == nil, err
	}))
}

// named checks that a report names the content with its repository and, unless they are unknown
// because the manifest is also damaged, with its manifest and tag.
func (r *registry) named(report report, tree, repo string, d digest.Digest, moved, tagged bool) {
	r.t.Helper()
	manifests, tags := []digest.Digest{r.image.Digest()}, []string{"v1"}
	if !tagged {
		manifests, tags = nil, nil
	}
	for _, f := range report.Damaged {
		if f.Tree == tree && f.Digest == d && f.Kind == "content" && f.Quarantined == moved && len(f.Images) == 1 &&
			f.Images[0].Repository == repo && slices.Equal(f.Images[0].Tags, tags) && slices.Equal(f.Images[0].Manifests, manifests) {
			return
		}
	}
	r.t.Errorf("%s of %s in %s is not named: %+v", d, repo, tree, report)
}

// skopeo pushes the image as its users do.
func (r *registry) skopeo() {
	r.t.Helper()
	from := r.t.TempDir()
	must(r.t, os.WriteFile(filepath.Join(from, "version"), []byte("Directory Transport Version: 1.1\n"), 0o600),
		os.WriteFile(filepath.Join(from, "manifest.json"), r.image.Manifest, 0o600))
	for _, blob := range r.image.Blobs {
		must(r.t, os.WriteFile(filepath.Join(from, digest.FromBytes(blob).Encoded()), blob, 0o600))
	}
	cmd := exec.CommandContext(r.t.Context(), server.Tool(r.t, "skopeo"), "--insecure-policy", "copy", "--preserve-digests",
		"--dest-tls-verify=false", "dir:"+from, "docker://"+r.Host+"/"+local+":v1")
	cmd.Env = append(os.Environ(), "HOME="+r.t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Errorf("skopeo: %v: %s", err, out)
	}
}

func TestVerifyAndHeal(t *testing.T) {
	r := start(t, "")
	layer, manifest := digest.FromBytes(r.image.Blobs[0]), r.image.Digest()
	if report := r.verify(0); report.Found != (found{}) || report.Read["private"].Objects != len(r.image.Blobs)+1 || report.Read["mirrors"].Objects != len(r.image.Blobs)+1 {
		t.Errorf("nothing is damaged: %+v", report)
	}
	for n, d := range []digest.Digest{layer, manifest} {
		r.damage(r.content("private", d))
		r.damage(r.content("mirrors", d))
		report := r.verify(1)
		r.named(report, "private", local, d, false, true)
		r.named(report, "mirrors", mirrored, d, false, true)
		if report.Found.Damaged != 2*(n+1) {
			t.Errorf("got %+v", report)
		}
	}
	if out, said, status := r.command(local); status != 1 || !strings.Contains(out, local+": tags v1; manifests "+string(manifest)) || !strings.Contains(said, "2 damaged or missing") {
		t.Errorf("verify %s: status %d, %s%s", local, status, out, said)
	}
	report := r.verify(1, "--repair")
	for _, d := range []digest.Digest{layer, manifest} {
		r.named(report, "private", local, d, true, d == manifest)
		r.named(report, "mirrors", mirrored, d, true, d == manifest)
		for tree, directory := range trees {
			if _, err := os.Stat(filepath.Join(r.Data, directory, "quarantine", string(d))); err != nil {
				t.Errorf("%s: %v", tree, err)
			}
		}
	}
	for _, path := range []string{"/v2/" + local + "/manifests/v1", "/v2/" + local + "/manifests/" + string(manifest), "/v2/" + local + "/blobs/" + string(layer)} {
		if got := r.status(path); got != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", path, got)
		}
	}
	r.hub.Forget()
	r.pulls(mirrored) // at once
	if len(r.hub.Requests()) == 0 {
		t.Error("the mirror did not request the quarantined content from its upstream")
	}
	if report := r.verify(1); report.Found.Damaged != 1 || report.Damaged[0].Kind != "missing" || report.Damaged[0].Digest != manifest {
		t.Errorf("until it is pushed, the private image has no manifest: %+v", report)
	}
	r.skopeo()
	r.pulls(local)
	if report := r.verify(0); report.Found != (found{}) || report.Quarantine["private"].Objects != 2 || report.Quarantine["mirrors"].Objects != 2 {
		t.Errorf("after the push: %+v", report)
	}
	if got := r.metric("registry_quarantine_objects{tree=\"private\"}"); got != "2" {
		t.Errorf("the metric of the quarantine is %q", got)
	}
	if got := r.metric("registry_verify_damaged_total{tree=\"mirrors\"}"); got == "" || got == "0" {
		t.Errorf("the metric of damage is %q", got)
	}

	// Without a server the command does the same.
	must(t, r.Stop(patience))
	if report := r.verify(0, "--repair"); report.Found != (found{}) {
		t.Errorf("without a server: %+v", report)
	}
	must(t, os.Remove(r.content("private", layer)))
	if report := r.verify(1); report.Found.Damaged != 1 || report.Damaged[0].Kind != "missing" || report.Damaged[0].Digest != layer {
		t.Errorf("without a server and without a layer: %+v", report)
	}
	for _, row := range []struct {
		status int
		said   string
		args   []string
	}{
		{2, "at most one repository", []string{"a", "b"}},
		{2, "without a tag or digest", []string{local + ":v1"}},
		{2, "unknown flag", []string{"--fix"}},
		{3, "team/other: nothing is stored of this repository", []string{"team/other"}},
	} {
		if _, said, status := r.command(row.args...); status != row.status || !strings.Contains(said, row.said) {
			t.Errorf("verify %q: status %d, %s; want %d, %q", row.args, status, said, row.status, row.said)
		}
	}
}

// metric is a sample of /metrics.
func (r *registry) metric(name string) string {
	r.t.Helper()
	response, err := http.Get(r.URL + "/metrics")
	must(r.t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	must(r.t, err)
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// The background run finds and moves damage, and a command that waits for a slow run does not
// keep the server from stopping.
func TestTheRunInTheBackground(t *testing.T) {
	r := start(t, "")
	layer := digest.FromBytes(r.image.Blobs[0])
	r.damage(r.content("private", layer))
	configure := func(options string) {
		t.Helper()
		o := mirror.Options{OCI: mirror.Block("docker.io", r.hub) + options}
		must(t, r.Configure(o.Caddyfile()), r.Reload(t.Context(), t))
	}
	if got := r.metric("registry_verify_read_bytes_total"); got != "0" {
		t.Errorf("%s bytes were read without an order", got)
	}
	configure("verify {\nevery 7d\n}")
	must(t, server.Eventually(patience, func() (bool, error) {
		return r.metric("registry_verify_last_finished_timestamp_seconds") != "", nil
	}))
	if got := r.status(fmt.Sprintf("/v2/%s/blobs/%s", local, layer)); got != http.StatusNotFound {
		t.Errorf("after the run the damaged layer answers %d, want 404", got)
	}
	before := r.metric("registry_verify_read_bytes_total")
	configure("verify {\nevery 7d\nrate 4KiB\n}")
	if now := r.metric("registry_verify_read_bytes_total"); now != before {
		t.Errorf("a reload has begun another run: %s bytes after %s", now, before)
	}
	slow := make(chan string)
	go func() {
		_, said, status := r.command()
		slow <- fmt.Sprintf("%d %s", status, said)
	}()
	must(t, server.Eventually(patience, func() (bool, error) {
		return r.metric("registry_verify_read_bytes_total") != before, nil
	}))
	must(t, r.Stop(patience))
	if said := <-slow; !strings.HasPrefix(said, "3 ") {
		t.Errorf("the slow run printed %s, want status 3", said)
	}
	if _, err := os.Stat(filepath.Join(r.Data, "clean")); err != nil {
		t.Errorf("the storage was not closed cleanly: %v", err)
	}
}
