// Package examples checks that the deployments in examples/ are valid and fit together: each
// file is decoded strictly by the types of the project that defines its format, and the built
// binary serves each Caddyfile, is probed as the deployment probes it, and is healthy.
package examples

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/server"
)

// patience bounds every wait; the machine may be busy.
const patience = time.Minute

// hang is how long a stop may take after grace_period if the disk hangs:
// docs/do/stop-and-reload.md.
const hang = 15 * time.Second

// path is that of a file of examples/.
func path(t *testing.T, names ...string) string {
	t.Helper()
	return filepath.Join(append([]string{server.Root(t), "examples"}, names...)...)
}

// read returns the text of a file of examples/.
func read(t *testing.T, names ...string) string {
	t.Helper()
	text, err := os.ReadFile(path(t, names...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// write writes a file with a line of text into a temporary directory.
func write(t *testing.T, text string) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// replaced replaces pairs of old and new text, all of which must be there.
func replaced(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the example has no %q any more", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// configured is what a deployment must know of a Caddyfile.
type configured struct {
	// ports are all ports on which it listens, and loopback those that only loopback reaches.
	ports, loopback []int
	grace           time.Duration
	// storage is the directory of the storage, and files those of the placeholders.
	storage string
	files   []string
	admin   string
}

var filePlaceholder = regexp.MustCompile(`\{file\.([^}]*)\}`)

// adapted reads a Caddyfile by the built binary.
func adapted(t *testing.T, caddyfile string) (c configured) {
	t.Helper()
	out, err := command(t, server.Binary(t), "adapt", "--adapter", "caddyfile", "--config", write(t, caddyfile)).Output()
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Admin struct{ Listen string }
		Apps  struct {
			HTTP struct {
				Port    int           `json:"http_port"`
				Grace   time.Duration `json:"grace_period"`
				Servers map[string]struct{ Listen []string }
			}
		}
	}
	if err := json.Unmarshal(out, &config); err != nil {
		t.Fatal(err)
	}
	for _, one := range config.Apps.HTTP.Servers {
		for _, address := range one.Listen {
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				t.Fatal(err)
			}
			number, err := strconv.Atoi(port)
			if err != nil {
				t.Fatal(err)
			}
			c.ports = append(c.ports, number)
			if host != "" {
				c.loopback = append(c.loopback, number)
			}
		}
	}
	if config.Apps.HTTP.Port != 0 {
		c.ports = append(c.ports, config.Apps.HTTP.Port)
	}
	for _, found := range filePlaceholder.FindAllSubmatch(out, -1) {
		c.files = append(c.files, string(found[1]))
	}
	c.grace, c.admin = config.Apps.HTTP.Grace, config.Admin.Listen
	for line := range strings.Lines(caddyfile) {
		if dir, ok := strings.CutPrefix(strings.TrimSpace(line), "storage file "); ok {
			c.storage = dir
		}
	}
	return c
}

// fits checks what both deployments must give a Caddyfile: writable is where the container may
// write durably, provided are the files that it mounts, and stop is how long it waits for a stop.
func (c configured) fits(t *testing.T, writable string, provided []string, stop time.Duration) {
	t.Helper()
	if !strings.HasPrefix(c.storage, writable+"/") {
		t.Errorf("the storage %q is not below %s, which is mounted", c.storage, writable)
	}
	for _, file := range c.files {
		if !slices.Contains(provided, file) {
			t.Errorf("the Caddyfile reads %s, but the deployment provides only %v", file, provided)
		}
	}
	if c.grace == 0 || stop < c.grace+hang {
		t.Errorf("a stop is given %s; want at least grace_period, %s, and %s", stop, c.grace, hang)
	}
	if c.admin != "unix//tmp/admin.sock" {
		t.Errorf("the admin endpoint is at %q, want a socket in the container", c.admin)
	}
}

// pinned checks that an image has a version.
func pinned(t *testing.T, image string) {
	t.Helper()
	_, tag, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	if tag == "" || tag == "latest" {
		t.Errorf("the image %q has no version", image)
	}
}
