package blockcut

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/eblume/caddy-registry/integration/fusefs"
)

// Kind is a file system of the kernel.
type Kind struct {
	Name    string   // as mount(8) knows it
	mkfs    []string // makes it on the device that follows
	options string   // of the mount
}

// The kinds that the storage syncs as a whole. The journal of an ext4 is committed by
// nothing but syncs here: a commit every few seconds would hide one that is missing.
var (
	Ext4 = Kind{"ext4", []string{"mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "nodiscard"}, "commit=300,errors=remount-ro"}
	XFS  = Kind{"xfs", []string{"mkfs.xfs", "-q", "-K"}, "nouuid"}
	// Ext4Bare has no journal: after a power cut, run Check before Mount.
	Ext4Bare = Kind{"ext4", []string{"mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "nodiscard", "-O", "^has_journal"}, "errors=remount-ro"}
)

// Program returns the program that makes such a file system.
func (k Kind) Program() string { return k.mkfs[0] }

// With is the kind with one more option of the mount.
func (k Kind) With(option string) Kind {
	k.options += "," + option
	return k
}

// Format returns a disk with an empty file system.
func (k Kind) Format(parent string) (*Disk, error) {
	d := New()
	err := d.attached(parent, func(device string) error {
		return run(k.mkfs[0], append(k.mkfs[1:len(k.mkfs):len(k.mkfs)], device)...)
	})
	if err != nil {
		return nil, err
	}
	return d.Clone(), d.Err()
}

// Check runs e2fsck on the disk without questions, as at the start of a machine.
func (d *Disk) Check(parent string) error {
	return d.attached(parent, func(device string) error {
		err := run("e2fsck", "-f", "-y", device)
		if status := new(exec.ExitError); errors.As(err, &status) && status.ExitCode() == repaired {
			return nil
		}
		return err
	})
}

// repaired is the status of e2fsck(8) when it has changed something, and all is well.
const repaired = 1

// attached has do use the disk as a block device.
func (d *Disk) attached(parent string, do func(device string) error) error {
	device, detach, err := d.attach(parent)
	if err != nil {
		return err
	}
	defer detach()
	return errors.Join(do(device.Name()), device.Close())
}

// attach makes the disk a block device. It is one until the device is closed and nothing is
// mounted on it; call detach after both.
func (d *Disk) attach(parent string) (device *os.File, detach func(), err error) {
	dir, detach, err := fusefs.Serve(d, parent, d.kill)
	if err != nil {
		return nil, nil, err
	}
	device, err = loop(filepath.Join(dir, fileName))
	if err != nil {
		detach()
		return nil, nil, err
	}
	return device, detach, nil
}

// Mount mounts the file system of kind k that is on the disk, on a new directory below
// parent. unmount unmounts it and detaches the disk in any state; its error reports that files
// were still open. Further calls do nothing.
func (k Kind) Mount(d *Disk, parent string) (dir string, unmount func() error, err error) {
	device, detach, err := d.attach(parent)
	if err != nil {
		return "", nil, err
	}
	defer device.Close()
	dir, err = fusefs.Point(parent)
	if err == nil {
		err = os.NewSyscallError("mount", unix.Mount(device.Name(), dir, k.Name, unix.MS_NOATIME, k.options))
	}
	if err != nil {
		device.Close()
		detach()
		return "", nil, fmt.Errorf("mount %s on %s: %w", k.Name, dir, err)
	}
	return dir, sync.OnceValue(func() error {
		defer detach()
		err := unix.Unmount(dir, 0)
		if err != nil {
			d.kill() // otherwise open files would keep the device in use
			unix.Unmount(dir, unix.MNT_DETACH)
		}
		return errors.Join(os.NewSyscallError("umount", err), d.Err())
	}), nil
}

// loopTries is how often another process may be quicker in taking a free loop device.
const loopTries = 100

// loop makes a block device of a file, with our sectors. The kernel detaches it when it is no
// longer in use, also when this process was killed.
func loop(path string) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	config := unix.LoopConfig{Fd: uint32(file.Fd()), Size: SectorSize}
	// Without direct I/O the device makes one request after the other.
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO
	for range loopTries {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, os.NewSyscallError("LOOP_CTL_GET_FREE", err)
		}
		device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
		if err == nil {
			return device, nil
		}
		device.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, os.NewSyscallError("LOOP_CONFIGURE", err)
		}
	}
	return nil, errors.New("other processes took every free loop device")
}

// run runs a program; its output is part of the error.
func run(name string, arguments ...string) error {
	out, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(arguments, " "), err, out)
	}
	return nil
}
