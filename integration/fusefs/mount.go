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
	return Serve(f, parent, f.Kill)
}

// Kill ends the disk's life at once: everything answers EIO.
func (f *FS) Kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kill()
}

// Serve mounts a file system that this process serves on a new directory below
// parent. unmount is as FS.Mount's; when files stay open it calls kill, after which
// raw answers every request with an error. If this process is killed the mount goes
// with it.
func Serve(raw fuse.RawFileSystem, parent string, kill func()) (dir string, unmount func(), err error) {
	dir, err = Point(parent)
	if err != nil {
		return "", nil, err
	}
	server, err := fuse.NewServer(raw, dir, &fuse.MountOptions{
		Name:               "fusefs",
		FsName:             "fusefs",
		DirectMount:        true, // works for root without the setuid helper
		DisableXAttrs:      true,
		DisableReadDirPlus: true,
		ExtraCapabilities:  fuse.CAP_ASYNC_DIO, // many direct requests of the kernel at once
		// go-fuse logs each request that an aborted connection left behind.
		Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		os.Remove(dir)
		return "", nil, fmt.Errorf("mount on %s: %w", dir, err)
	}
	go server.Serve()
	var once sync.Once
	unmount = func() { once.Do(func() { end(server, dir, kill) }) }
	if err := server.WaitMount(); err != nil {
		unmount()
		return "", nil, fmt.Errorf("mount on %s: %w", dir, err)
	}
	return dir, unmount, nil
}

// Point makes a directory below parent to mount something on that needs what Serve
// mounted. If this process is killed it is unmounted too.
func Point(parent string) (string, error) {
	if err := watch(); err != nil {
		return "", err
	}
	return os.MkdirTemp(parent, mountPrefix)
}

// end unmounts dir.
func end(server *fuse.Server, dir string, kill func()) {
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
	kill()
	if exec.Command("fusermount3", "-u", "-z", dir).Run() == nil {
		os.Remove(dir)
	}
}
