// Package metrics lets a real Prometheus scrape the built binary, and compares its metrics with
// docs/look-up/metrics.md.
package metrics

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/mirror"
	"github.com/eblume/caddy-registry/integration/server"
)

// patience bounds every wait; the machine may be busy.
const patience = time.Minute

// documented is a row of the table of metrics.
var documented = regexp.MustCompile("(?m)^\\| `(registry_[a-z_]+)(?:\\{([a-z,]+)\\})?` \\| (counter|gauge|histogram) \\|")

// metric is the type and the labels of one, with commas.
type metric struct{ kind, labels string }

// documentation returns the metrics of docs/look-up/metrics.md.
func documentation(t *testing.T) map[string]metric {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(server.Root(t), "docs", "look-up", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]metric{}
	for _, row := range documented.FindAllStringSubmatch(string(text), -1) {
		found[row[1]] = metric{row[3], row[2]}
	}
	// Every line of the table that names a metric of ours was understood.
	if lines := strings.Count(string(text), "\n| `registry_"); lines != len(found) || lines == 0 {
		t.Fatalf("%d lines of the table name a metric, and %d were read", lines, len(found))
	}
	return found
}

// exported returns the metrics of a page of /metrics that are ours.
func exported(t *testing.T, page []byte) map[string]metric {
	t.Helper()
	found := map[string]metric{}
	label := regexp.MustCompile(`([a-z_]+)="(?:[^"\\]|\\.)*"`)
	name, kind := "", ""
	for lines := bufio.NewScanner(bytes.NewReader(page)); lines.Scan(); {
		line := lines.Text()
		if words := strings.Fields(line); len(words) == 4 && words[1] == "TYPE" {
			name, kind = words[2], words[3]
			continue
		}
		if strings.HasPrefix(line, "#") || !strings.HasPrefix(name, "registry_") {
			continue
		}
		var labels []string
		if _, inner, ok := strings.Cut(line, "{"); ok {
			for _, pair := range label.FindAllStringSubmatch(inner, -1) {
				if pair[1] != "le" {
					labels = append(labels, pair[1])
				}
			}
		}
		slices.Sort(labels)
		now := metric{kind, strings.Join(labels, ",")}
		if before, ok := found[name]; ok && before != now {
			t.Errorf("%s has the labels %s and %s", name, before.labels, now.labels)
		}
		found[name] = now
	}
	return found
}

func get(t *testing.T, target string) []byte {
	t.Helper()
	c := server.Client(patience)
	defer c.CloseIdleConnections()
	response, err := c.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", target, response.Status, err)
	}
	return body
}

// launch runs a program until the test ends, and waits until it takes connections.
func launch(t *testing.T, port int, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(server.Tool(t, program), args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", program, said.String())
		}
	})
	err := server.Eventually(patience, func() (bool, error) {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			c.Close()
		}
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
}

// prometheus runs one that scrapes a server often, and returns its URL.
func prometheus(t *testing.T, s *server.Server) string {
	t.Helper()
	dir, port := t.TempDir(), server.FreePort(t)
	config := fmt.Sprintf("global:\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\nscrape_configs:\n- job_name: registry\n  static_configs:\n  - targets: [%q]\n", s.Host)
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	launch(t, port, "prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	return "http://" + address
}

// answers reports whether Prometheus has a value for a query.
func answers(t *testing.T, prometheus, query string) bool {
	t.Helper()
	c := server.Client(patience)
	defer c.CloseIdleConnections()
	response, err := c.Get(prometheus + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Data struct{ Result []any }
	}
	// It answers 503 until it has started.
	return response.StatusCode == http.StatusOK && json.NewDecoder(response.Body).Decode(&answer) == nil && len(answer.Data.Result) > 0
}

// caddyfile lets anonymous callers read some private repositories and not others.
const caddyfile = `{
	persist_config off
	metrics
	oci {
		storage file {$REGISTRY_DATA}
		private team/** secret/**
		min_free 1
		cache redis {
			address 127.0.0.1:%d
		}
		policy {
			allow anonymous read fetch on team/** docker.io/**
			allow group admins *
		}
%s
	}
}
http://:{$REGISTRY_PORT} {
	bind 127.0.0.1
	log {
		output file %s
	}
	metrics /metrics
	oci_registry
}
`

// busy is a registry that has done a bit of everything.
func busy(t *testing.T, accessLog string) *server.Server {
	t.Helper()
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	image := client.NewImage(1, 2, 1000)
	for _, blob := range image.Blobs {
		hub.Blob("library/app", blob)
	}
	hub.Manifest("library/app", ocispec.MediaTypeImageManifest, image.Manifest, "v1")
	redis := server.FreePort(t)
	launch(t, redis, "redis-server", "--port", strconv.Itoa(redis), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	s := server.Start(t, server.Options{Caddyfile: fmt.Sprintf(caddyfile, redis, mirror.Block("docker.io", hub), accessLog)})
	s.Key(t, "ci", "ci")
	secret, _ := s.Key(t, "erich", "admins")
	r := client.New(s.URL).Login("erich", secret)
	defer r.Close()
	for seed, repo := range []string{"team/app", "secret/app"} {
		if err := r.PushImage(t.Context(), repo, "v1", client.NewImage(2+uint64(seed), 2, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	for _, repo := range []string{"team/app", "docker.io/library/app", "docker.io/library/app"} {
		if _, err := r.PullImage(t.Context(), repo, "v1"); err != nil {
			t.Fatal(err)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/token", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("erich", secret)
	c := server.Client(patience)
	defer c.CloseIdleConnections()
	response, err := c.Do(request)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("token: %v, %v", response, err)
	}
	response.Body.Close()
	for _, command := range []string{"gc", "verify"} {
		if out, err := s.Command(t.Context(), t, "registry", command, "--storage", s.Data).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
	}
	return s
}

func TestPrometheusFindsWhatTheDocumentationNames(t *testing.T) {
	want := documentation(t)
	accessLog := filepath.Join(t.TempDir(), "access.log")
	s := busy(t, accessLog)
	at := prometheus(t, s)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		query := name
		switch want[name].kind {
		case "counter":
			query = "sum(rate(" + name + "[1m])) or " + name
		case "histogram":
			query = "sum by (le) (" + name + "_bucket)"
		}
		if err := server.Eventually(patience, func() (bool, error) { return answers(t, at, query), nil }); err != nil {
			t.Errorf("Prometheus has no answer to %s: %v", query, err)
		}
	}
	// Queries of alerts and dashboards.
	for _, query := range []string{
		`histogram_quantile(0.99, sum by (le, action) (registry_request_duration_seconds_bucket{source="upstream"})) > 0`,
		`registry_request_first_byte_seconds_count{action="manifest",source="private"} > 0`,
		`registry_storage_repository_bytes{repository="team/app"} > 2000`,
		`registry_storage_repository_bytes{repository="other"} > 2000`,
		`registry_storage_bytes{tree="private"} > 2000`,
		`registry_disk_free_bytes < registry_disk_size_bytes`,
		`registry_mirror_upstream_state{mirror="docker.io",state="ok"} == 1`,
		`sum by (mirror) (registry_mirror_upstream_state) == 1`,
		`registry_redis_state{state="ok"} == 1`,
		`registry_index_ready == 1`,
		`registry_api_keys{state="valid"} == 2`,
		`time() - registry_last_success_timestamp_seconds{task="gc"} < 3600`,
		`registry_build_info{go=~"go1.*",caddy=~"v2.*"} == 1`,
	} {
		if err := server.Eventually(patience, func() (bool, error) { return answers(t, at, query), nil }); err != nil {
			t.Errorf("Prometheus has no answer to %s: %v", query, err)
		}
	}

	everyPanel(t, at)

	// A reload takes nothing away, and nothing is exported that the documentation leaves out.
	if err := s.Reload(t.Context(), t); err != nil {
		t.Fatal(err)
	}
	page := get(t, s.URL+"/metrics")
	got := exported(t, page)
	for name, is := range got {
		if says, ok := want[name]; !ok {
			t.Errorf("%s is exported, and docs/look-up/metrics.md does not name it", name)
		} else if labels := strings.Split(says.labels, ","); is.kind != says.kind || is.labels != strings.Join(slices.Sorted(slices.Values(labels)), ",") {
			t.Errorf("%s is a %s with the labels %q; docs/look-up/metrics.md says a %s with %q", name, is.kind, is.labels, says.kind, says.labels)
		}
	}
	for name := range want {
		if _, ok := got[name]; !ok {
			t.Errorf("docs/look-up/metrics.md names %s, which is not exported after a reload", name)
		}
	}
	if bytes.Contains(page, []byte("secret/app")) {
		t.Error("a metric names a repository that anonymous callers may not read")
	}
	promtool(t, page)
	for source, action := range map[string]string{"private": "manifest", "upstream": "blob", "held": "blob"} {
		if !logged(t, accessLog, action, source) {
			t.Errorf("the access log has no %s from %s", action, source)
		}
	}
}

// logged reports whether an access log has an answer to an action from a source.
func logged(t *testing.T, path, action, source string) bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var entry struct{ Action, Source string }
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if entry.Action == action && entry.Source == source {
			return true
		}
	}
	return false
}

// promtool runs Prometheus's own checker on the registry's metrics. Caddy's metrics are left
// out.
func promtool(t *testing.T, page []byte) {
	t.Helper()
	var ours bytes.Buffer
	name := ""
	for line := range bytes.Lines(page) {
		if words := strings.Fields(string(line)); len(words) > 2 && words[0] == "#" {
			name = words[2]
		}
		if strings.HasPrefix(name, "registry_") {
			ours.Write(line)
		}
	}
	cmd := exec.CommandContext(t.Context(), server.Tool(t, "promtool"), "check", "metrics")
	cmd.Stdin = &ours
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
