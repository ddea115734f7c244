package dir

import (
	"bufio"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Risks returns warnings for an operator: why a power cut could lose synced data on the file
// system of a directory, each with advice. It reports only what is known. There are none where
// a system does not expose the facts, as in some containers, or for file systems that lie about
// a sync.
func Risks(path string) []string { return risksAt(path) }

// noTask is what ext4 reports as the journal's task if there is no journal.
const noTask = "<none>"

// risksOf are those of the file system on a block device, "major:minor". system is the
// root directory of a Linux.
func risksOf(system fs.FS, device string) []string {
	block, ok := blockDevice(system, device)
	if !ok {
		return nil // on no disk, or on several: other rules apply
	}
	kind, options := superBlock(system, device)
	what := fmt.Sprintf("the storage's file system on %s", block)
	var risks []string
	// Unreadable files belong to another file system, or to a kernel that does not
	// expose them.
	task, err := fs.ReadFile(system, "sys/fs/ext4/"+strings.ReplaceAll(strings.TrimPrefix(block, "/dev/"), "/", "!")+"/journal_task")
	if err == nil && strings.TrimSpace(string(task)) == noTask || kind == "ext2" {
		risks = append(risks, what+" has no journal: after a power cut, tags and images that were acknowledged can be missing or name other content; unmount it, run `tune2fs -O has_journal "+block+"` and mount it as ext4, or keep the storage on a file system with a journal")
	}
	if slices.Contains(options, "nobarrier") || slices.Contains(options, "barrier=0") {
		risks = append(risks, what+" is mounted without barriers: acknowledged data may be only in the cache of the disk, and a power cut loses it if that cache has no battery; mount it without the option nobarrier")
	}
	return risks
}

// blockDevice is the path of a device, if it is a block device.
func blockDevice(system fs.FS, device string) (path string, ok bool) {
	text, err := fs.ReadFile(system, "sys/dev/block/"+device+"/uevent")
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME="); ok {
			return "/dev/" + name, true
		}
	}
	return "", false
}

// superBlock returns the type of the file system on a device, and the options of all its
// mounts; nothing if this process sees no mount of it (proc_pid_mountinfo(5)).
func superBlock(system fs.FS, device string) (kind string, options []string) {
	f, err := system.Open("proc/self/mountinfo")
	if err != nil {
		return "", nil
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		mount, super, _ := strings.Cut(lines.Text(), " - ")
		of, about := strings.Fields(mount), strings.Fields(super)
		if len(of) > 2 && of[2] == device && len(about) > 2 {
			return about[0], strings.Split(about[2], ",")
		}
	}
	return "", nil
}
