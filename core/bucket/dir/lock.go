package dir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrInUse reports a storage that another process has open.
var ErrInUse = errors.New("in use")

// takeLock locks the storage for this process until the file is closed; the kernel
// releases it too when the process is killed. The file names the holder, for the error message
// of the next process.
func takeLock(root *os.Root) (*os.File, error) {
	f, err := root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		defer f.Close()
		return nil, fmt.Errorf("storage %s is %w by %s; stop it, or choose another directory", root.Name(), ErrInUse, holder(f))
	case err != nil:
		f.Close()
		return nil, fmt.Errorf("lock storage %s: %w (a file system without locks cannot hold a storage)", root.Name(), err)
	}
	if err := sign(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("write lock: %w", err)
	}
	return f, nil
}

// takeRoot also locks the storage's directory: if the lock file is removed while this process
// serves, the next process would lock a new file.
func takeRoot(root *os.Root) (*os.File, error) {
	f, err := root.Open(".")
	if err != nil {
		return nil, fmt.Errorf("lock storage %s: %w", root.Name(), err)
	}
	// A file system that can lock only files is not refused: the lock file is enough.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		f.Close()
		return nil, fmt.Errorf("storage %s is %w by another process, whose file %s was removed; stop it, or choose another directory", root.Name(), ErrInUse, lockFile)
	}
	return f, nil
}

// sign writes this process's ID, name and start time into the lock.
func sign(f *os.File) error {
	name := "unknown"
	if exe, err := os.Executable(); err == nil {
		name = filepath.Base(exe)
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := fmt.Fprintf(f, "process %d (%s), started %s\n", os.Getpid(), name, time.Now().UTC().Format(time.RFC3339))
	return err
}

// holder reads which process holds the lock.
func holder(f *os.File) string {
	// The registry writes a short text; the bound is for other files.
	text, err := io.ReadAll(io.LimitReader(f, 512))
	who := strings.TrimSpace(string(text))
	if err != nil || who == "" {
		return "another process"
	}
	return who
}
