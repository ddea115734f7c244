package server

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// PeakMemory is the largest resident set that the process had so far, in bytes:
// VmHWM, counted by the kernel, so no sample can miss it.
func (s *Server) PeakMemory() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		value, found := strings.CutPrefix(line, "VmHWM:")
		if !found {
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		return kilobytes << 10, err
	}
	return 0, fmt.Errorf("no VmHWM in the status of process %d", s.PID())
}
