package fusefs

import (
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// unmountPatience is how long files may stay open on a disk that is unmounted
// before it is taken away from under them.
const unmountPatience = 3 * time.Second

// Mount mounts f on a new directory until the test ends, and returns the
// directory. Unmount does it earlier.
func Mount(t testing.TB, f *FS) string {
	t.Helper()
	dir, unmount, err := f.Mount(os.TempDir())
	if err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(unmount)
	return dir
}

// Mount mounts f on a new directory below parent. unmount ends that within a few
// seconds, whatever is still open, and removes the directory; further calls do
// nothing.
func (f *FS) Mount(parent string) (dir string, unmount func(), err error) {
	if err := watch(); err != nil {
		return "", nil, err
	}
	dir, err = os.MkdirTemp(parent, mountPrefix)
	if err != nil {
		return "", nil, err
	}
	server, err := fuse.NewServer(f, dir, &fuse.MountOptions{
		Name:               "fusefs",
		FsName:             "fusefs",
		DirectMount:        true, // works for root without the setuid helper
		DisableXAttrs:      true,
		DisableReadDirPlus: true,
		// go-fuse logs each request that an aborted connection left behind.
		Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		os.Remove(dir)
		return "", nil, fmt.Errorf("mount on %s: %w", dir, err)
	}
	go server.Serve()
	var once sync.Once
	unmount = func() { once.Do(func() { f.unmount(server, dir) }) }
	if err := server.WaitMount(); err != nil {
		unmount()
		return "", nil, fmt.Errorf("mount on %s: %w", dir, err)
	}
	return dir, unmount, nil
}

func (f *FS) unmount(server *fuse.Server, dir string) {
	done := make(chan error, 1)
	go func() { done <- server.Unmount() }()
	select {
	case err := <-done:
		if err == nil {
			os.Remove(dir)
			return
		}
	case <-time.After(unmountPatience):
	}
	f.mu.Lock()
	f.kill()
	f.mu.Unlock()
	if exec.Command("fusermount3", "-u", "-z", dir).Run() == nil {
		os.Remove(dir)
	}
}
