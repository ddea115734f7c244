package main

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// Every line of testdata/forbidden.want is one finding. The phrases stand in files
// that are not checked, because this one is.
func TestForbidden(t *testing.T) {
	want, err := os.ReadFile("testdata/forbidden.want")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range checkFile(t, "testdata/forbidden.go.txt") {
		got.WriteString(f.String() + "\n")
	}
	if got.String() != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
	}
	for _, r := range append(rules, headless) {
		if !strings.Contains(string(want), r.advice) {
			t.Errorf("no line of testdata/forbidden.want has the advice of %s: %s", r.phrase, r.advice)
		}
	}
}

func TestAllowed(t *testing.T) {
	for _, f := range checkFile(t, "testdata/allowed.go.txt") {
		t.Errorf("%v", f)
	}
}

func TestExamine(t *testing.T) {
	bad := &fstest.MapFile{Data: []byte("package p\n\n// Who asks waits.\nvar x int\n")}
	good := &fstest.MapFile{Data: []byte("package p\n")}
	broken := &fstest.MapFile{Data: []byte("package\n")}
	for name, row := range map[string]struct {
		tree     fstest.MapFS
		findings int
		fails    bool
	}{
		"every package":                 {tree: fstest.MapFS{"a.go": bad, "b/c/d_test.go": bad, "b/e.go": good}, findings: 2},
		"testdata and what Go ignores":  {tree: fstest.MapFS{"testdata/a.go": bad, ".x/a.go": bad, "_a.go": bad, "b.go": good}},
		"other files":                   {tree: fstest.MapFS{"a.txt": bad, "b.go": good}},
		"a file that does not parse":    {tree: fstest.MapFS{"a.go": broken}, fails: true},
		"a directory without a Go file": {tree: fstest.MapFS{"a.txt": bad}, fails: true},
		"a directory that is not there": {tree: fstest.MapFS{}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			findings, err := examine(row.tree)
			if len(findings) != row.findings || (err != nil) != row.fails {
				t.Errorf("got %d findings and error %v, want %d findings and an error: %t",
					len(findings), err, row.findings, row.fails)
			}
		})
	}
}

func checkFile(t *testing.T, file string) []finding {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	findings, err := check(file, source)
	if err != nil {
		t.Fatal(err)
	}
	return findings
}
