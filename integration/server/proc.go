package server

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// PeakMemory is the largest resident set that the process had so far, in bytes:
// VmHWM, counted by the kernel, so no sample can miss it. Mapped files count in it.
func (s *Server) PeakMemory() (int64, error) { return s.memory("VmHWM") }

// MappedMemory is how much of files is in the resident set now, in bytes: RssFile.
func (s *Server) MappedMemory() (int64, error) { return s.memory("RssFile") }

// memory reads a row of the process's status, in bytes.
func (s *Server) memory(row string) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		value, found := strings.CutPrefix(line, row+":")
		if !found {
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		return kilobytes << 10, err
	}
	return 0, fmt.Errorf("no %s in the status of process %d", row, s.PID())
}
