package main

import (
	"bytes"
	"io"
	"regexp"
)

// Bounds of what the summary repeats: lines in all, and lines behind a panic or a data race.
const (
	maxLines = 200
	trace    = 40
)

var (
	// verdict is a line that says what failed and why; go test indents those of subtests.
	verdict = regexp.MustCompile(`^\s*--- FAIL|^\s+\S+_test\.go:\d+: |^FAIL\s+\S`)
	// crash is a line behind which a trace is worth having.
	crash = regexp.MustCompile(`^panic: |^fatal error: |^WARNING: DATA RACE`)
)

// failures passes on what `go test` prints, and keeps the lines that say what failed. The servers in
// some tests log thousands of lines around them.
type failures struct {
	to   io.Writer
	rest []byte // a line without its end
	left int    // lines of a trace that are still kept
	kept []string
}

func (f *failures) Write(p []byte) (int, error) {
	f.rest = append(f.rest, p...)
	for {
		line, rest, whole := bytes.Cut(f.rest, []byte("\n"))
		if !whole {
			break
		}
		f.look(string(line))
		f.rest = rest
	}
	return f.to.Write(p)
}

func (f *failures) look(line string) {
	if crash.MatchString(line) {
		f.left = trace
	}
	if f.left == 0 && !verdict.MatchString(line) || len(f.kept) == maxLines {
		return
	}
	f.left = max(0, f.left-1)
	f.kept = append(f.kept, line)
}
