package fusefs

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
)

// A process that is killed while it waits for its own file system never ends: the
// kernel waits for an answer, and for the descriptor on which it would come to be
// closed, and both belong to threads that have ended. So another process must abort the
// connection. This script does that: it gets the ID of the test's process and the prefix of its
// mount points, and ends with the process.
const watchdogScript = `
while read -r _ _ state _ < "/proc/$1/stat" && [ "$state" != Z ]; do sleep 1; done 2>/dev/null
while read -r _ dir _; do
	case $dir in *"$2"*) umount -f "$dir"; umount -l "$dir" ;; esac
done < /proc/mounts 2>/dev/null
`

// mountPrefix begins the name of every mount point of this process.
var mountPrefix = fmt.Sprintf("fusefs-%d-", os.Getpid())

// watch starts the watchdog, once in a process.
var watch = sync.OnceValue(func() error {
	dog := exec.Command("sh", "-c", watchdogScript, "sh", strconv.Itoa(os.Getpid()), "/"+mountPrefix)
	// A signal that kills our process group should not reach it.
	dog.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := dog.Start(); err != nil {
		return fmt.Errorf("start watchdog: %w", err)
	}
	return nil
})
