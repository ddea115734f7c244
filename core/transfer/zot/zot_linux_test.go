package zot_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/transfer/zot"
)

// opened watches which files in directories are opened, by what the kernel notes.
func opened(t *testing.T, directories ...string) (names func() []string) {
	t.Helper()
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	must(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	for _, directory := range directories {
		_, err := syscall.InotifyAddWatch(fd, directory, syscall.IN_OPEN)
		must(t, err)
	}
	return func() (names []string) {
		buf := make([]byte, 1<<16)
		for {
			n, err := syscall.Read(fd, buf)
			if errors.Is(err, syscall.EAGAIN) {
				return names
			}
			must(t, err)
			for events := buf[:n]; len(events) >= syscall.SizeofInotifyEvent; {
				length := syscall.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
				names = append(names, strings.TrimRight(string(events[syscall.SizeofInotifyEvent:length]), "\x00"))
				events = events[length:]
			}
		}
	}
}

// A fifo or a device is never opened, wherever it stands: to open one may block, or rewind a
// tape.
func TestNoFifoIsOpened(t *testing.T) {
	for name, place := range map[string]string{
		"an index":              "single/index.json",
		"a manifest":            "single/blobs/sha256/" + digest.Digest(expected(t)["single"]["v1"]).Encoded(),
		"a blob":                "blumeops/quartz/blobs/sha256/" + digest.FromString("fifo").Encoded(),
		"the blobs":             "blumeops/docker/blobs",
		"those of an algorithm": "blumeops/docker/blobs/sha256",
		"a repository":          "blumeops/multi",
		"several repositories":  "ghcr.io",
		"the database":          "meta.db",
	} {
		t.Run(name, func(t *testing.T) {
			root := fixture(t)
			add(t, root, "blumeops/quartz", "fifo", fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":4},"layers":[]}`, digest.FromString("fifo")))
			place := filepath.Join(root, place)
			must(t, os.RemoveAll(place), syscall.Mkfifo(place, 0o600))
			names := opened(t, filepath.Dir(place))
			if name == "the database" {
				if source, err := zot.Open(root); err == nil {
					source.Close()
					t.Error("the database is a fifo, and was opened")
				}
			} else {
				openTarget(t, t.TempDir()).imported(t, root, nil)
			}
			if slices.Contains(names(), filepath.Base(place)) {
				t.Error("the fifo was opened")
			}
		})
	}
	fifo := filepath.Join(t.TempDir(), "root")
	must(t, syscall.Mkfifo(fifo, 0o600))
	if source, err := zot.Open(fifo); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a fifo as the root: %v, %v", source, err)
	}
}
