package main

import (
	"io"
	"slices"
	"strings"
	"testing"
)

// The lines about failures are kept from between the log lines of servers, wherever a write ends.
func TestFailuresAreRepeated(t *testing.T) {
	const printed = `{"level":"info","msg":"server running"}
ok  	example.org/a	1.1s
--- FAIL: TestOne (0.01s)
    --- FAIL: TestOne/in_a_case (0.00s)
        one_test.go:12: got 3, want 4
{"level":"error","msg":"FAIL is a word of a log"}
WARNING: DATA RACE
Read at 0x1
FAIL
FAIL	example.org/b	2.0s
`
	want := []string{
		"--- FAIL: TestOne (0.01s)", "    --- FAIL: TestOne/in_a_case (0.00s)", "        one_test.go:12: got 3, want 4",
		"WARNING: DATA RACE", "Read at 0x1", "FAIL", "FAIL\texample.org/b\t2.0s",
	}
	for _, step := range []int{1, 7, len(printed)} {
		f := &failures{to: io.Discard}
		for part := range slices.Chunk([]byte(printed), step) {
			if _, err := f.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(f.kept, want) {
			t.Errorf("in steps of %d kept:\n%s", step, strings.Join(f.kept, "\n"))
		}
	}
}

func TestFailuresAreBounded(t *testing.T) {
	f := &failures{to: io.Discard}
	io.WriteString(f, strings.Repeat("--- FAIL: TestOne\n", 2*maxLines))
	if len(f.kept) != maxLines {
		t.Errorf("%d lines kept, want %d", len(f.kept), maxLines)
	}
}
