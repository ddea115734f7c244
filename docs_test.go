package registry

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

// readmeLimit keeps the README a front door; the manual is in docs/.
const readmeLimit = 8 << 10

// documents returns the Markdown files of the repository by their paths.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (path == ".git" || path == "bin" || path == "data" || entry.Name() == "node_modules"):
			return filepath.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		found[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// block is a fenced block of code: its info string, its text, the line of its fence, and
// the line before the fence.
type block struct {
	info, text string
	line       int
	above      string
}

// parse separates the prose of a document from its blocks of code. In the prose the lines
// of blocks are empty, so that its lines keep their numbers.
func parse(text string) (prose string, blocks []block, err error) {
	var out, code strings.Builder
	fence, number := 0, 0
	info, above, last := "", "", ""
	for line := range strings.Lines(text) {
		number++
		trimmed := strings.TrimSpace(line)
		marked := strings.HasPrefix(trimmed, "```")
		switch {
		case marked && fence == 0:
			fence, info, above = number, strings.TrimPrefix(trimmed, "```"), last
		case marked:
			blocks = append(blocks, block{info, code.String(), fence, above})
			fence = 0
			code.Reset()
		case fence > 0:
			code.WriteString(line)
		default:
			out.WriteString(line)
			last = trimmed
			continue
		}
		out.WriteByte('\n')
	}
	if fence > 0 {
		return "", nil, fmt.Errorf("line %d: the block has no end", fence)
	}
	return out.String(), blocks, nil
}

var (
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	link    = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	code    = regexp.MustCompile("`[^`\n]*`")
	dropped = regexp.MustCompile(`[^\p{L}\p{N}\p{M}_ -]`)
)

// anchors returns the anchors of the headings, as GitHub makes them.
func anchors(prose string) map[string]bool {
	found := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(prose, -1) {
		title := link.ReplaceAllStringFunc(match[1], func(s string) string { return s[1:strings.Index(s, "]")] })
		anchor := strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(title), ""), " ", "-")
		name := anchor
		for i := 1; found[name]; i++ {
			name = fmt.Sprintf("%s-%d", anchor, i)
		}
		found[name] = true
	}
	return found
}

// linked returns the files of the repository that the links of a document name.
func linked(path, prose string) []string {
	var files []string
	for _, match := range link.FindAllStringSubmatch(code.ReplaceAllString(prose, "code"), -1) {
		if target, err := url.Parse(match[1]); err == nil && target.Scheme == "" && target.Path != "" {
			files = append(files, filepath.Join(filepath.Dir(path), filepath.FromSlash(target.Path)))
		}
	}
	return files
}

// brokenLinks returns the links of a document that lead to no file, or to no heading.
// Links to other hosts are not followed.
func brokenLinks(path, prose string, all map[string]string) []string {
	var broken []string
	number := 0
	for line := range strings.Lines(prose) {
		number++
		for _, match := range link.FindAllStringSubmatch(code.ReplaceAllString(line, "code"), -1) {
			target, err := url.Parse(match[1])
			if err != nil {
				broken = append(broken, fmt.Sprintf("%s:%d: %v", path, number, err))
				continue
			}
			if target.Scheme != "" {
				continue
			}
			file := path
			if target.Path != "" {
				file = filepath.Join(filepath.Dir(path), filepath.FromSlash(target.Path))
			}
			if _, err := os.Stat(file); err != nil || !filepath.IsLocal(file) {
				broken = append(broken, fmt.Sprintf("%s:%d: %s: there is no such file", path, number, match[1]))
			} else if target.Fragment != "" {
				prose, _, _ := parse(all[file])
				if !anchors(prose)[target.Fragment] {
					broken = append(broken, fmt.Sprintf("%s:%d: %s: there is no such heading", path, number, match[1]))
				}
			}
		}
	}
	return broken
}

func TestLinksInTheDocuments(t *testing.T) {
	all := documents(t)
	if _, ok := all["README.md"]; !ok || len(all) < 3 {
		t.Fatalf("found only %d documents", len(all))
	}
	for path, text := range all {
		prose, _, err := parse(text)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		for _, broken := range brokenLinks(path, prose, all) {
			t.Error(broken)
		}
	}
	if size := len(all["README.md"]); size > readmeLimit {
		t.Errorf("README.md has %d bytes, and may have %d: move text to docs/", size, readmeLimit)
	}
}

// A reader who begins with the README finds every document.
func TestEveryDocumentIsLinked(t *testing.T) {
	all := documents(t)
	seen, next := map[string]bool{}, []string{"README.md"}
	for len(next) > 0 {
		path := next[0]
		next = next[1:]
		if text, ok := all[path]; ok && !seen[path] {
			seen[path] = true
			if prose, _, err := parse(text); err == nil {
				next = append(next, linked(path, prose)...)
			}
		}
	}
	for path := range all {
		if !seen[path] && !strings.HasPrefix(path, ".github") {
			t.Errorf("%s: no document that is linked from README.md links it", path)
		}
	}
}

// The checks themselves: what they accept, and what they report.
func TestBrokenLinksAreFound(t *testing.T) {
	const path = "README.md" // which exists, with another text
	text := strings.Join([]string{
		"# A `B`: c, d-e",
		"[ok](#a-b-c-d-e) [ok](docs/README.md#documentation) [ok](examples/) " +
			"[ok](https://example.org/nothing) `[code](nothing.md)`",
		"```sh",
		"# no heading",
		"[code](nothing.md)",
		"```",
		"[missing](nothing.md)",
		"[missing](#no-heading)",
		"[missing](docs/README.md#nothing)",
		"[outside](../README.md)",
	}, "\n")
	prose, _, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	all := map[string]string{path: text, filepath.Join("docs", "README.md"): "# Documentation"}
	for _, broken := range brokenLinks(path, prose, all) {
		lines = append(lines, strings.SplitN(broken, ":", 3)[1])
	}
	if got, want := strings.Join(lines, " "), "7 8 9 10"; got != want {
		t.Errorf("got broken links on the lines %s, want %s", got, want)
	}
	if _, _, err := parse("```sh\nls\n"); err == nil {
		t.Error("a block without an end is accepted")
	}
}

// wrapped completes an example: its info string says where it belongs.
func wrapped(b block) (string, bool) {
	switch b.info {
	case "caddyfile":
		return b.text, true
	case "caddyfile oci": // in the block oci
		return "{\noci {\n" + b.text + "}\n}\n", true
	}
	return "", false
}

// Every example of a Caddyfile is one that the registry can read.
func TestCaddyfilesInTheDocuments(t *testing.T) {
	adapted := 0
	for path, text := range documents(t) {
		_, blocks, err := parse(text)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		for _, b := range blocks {
			if !strings.HasPrefix(b.info, "caddyfile") {
				continue
			}
			caddyfile, ok := wrapped(b)
			if !ok {
				t.Errorf("%s:%d: unknown kind of block %q", path, b.line, b.info)
				continue
			}
			adapted++
			named := map[string]any{"filename": "Caddyfile"}
			_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), named)
			if err != nil {
				t.Errorf("%s:%d: %v", path, b.line, err)
			}
		}
	}
	if adapted == 0 {
		t.Error("no document has an example: this test looks at the wrong files")
	}
}

var (
	testedBy = regexp.MustCompile(`^<!-- tested: (\S+\.go) (Test\w+) -->$`)
	notRun   = regexp.MustCompile(`^<!-- not run: \S.* -->$`)
)

// covered reports what is missing above a block: every block of the manual is run, or says
// which test covers it, or why none does. Blocks marked `sh run` are run by integration/docs,
// and TestCaddyfilesInTheDocuments reads those of a Caddyfile.
func covered(b block) error {
	kind, _, _ := strings.Cut(b.info, " ")
	if b.info == "sh run" || kind == "mermaid" || kind == "caddyfile" || notRun.MatchString(b.above) {
		return nil
	}
	named := testedBy.FindStringSubmatch(b.above)
	if named == nil {
		return fmt.Errorf("above the block %q stands neither <!-- tested: file Test --> nor <!-- not run: why -->", b.info)
	}
	source, err := os.ReadFile(named[1])
	if err != nil {
		return err
	}
	if !strings.Contains(string(source), "\nfunc "+named[2]+"(t *testing.T) {") {
		return fmt.Errorf("%s has no %s", named[1], named[2])
	}
	return nil
}

func TestEveryBlockIsTestedOrSaysWhyNot(t *testing.T) {
	for path, text := range documents(t) {
		if path != "README.md" && !strings.HasPrefix(path, "docs") {
			continue
		}
		_, blocks, err := parse(text)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for _, b := range blocks {
			if err := covered(b); err != nil {
				t.Errorf("%s:%d: %v", path, b.line, err)
			}
		}
	}
}

func TestCovered(t *testing.T) {
	for _, row := range []struct {
		name, info, above string
		ok                bool
	}{
		{"a block that is run", "sh run", "", true},
		{"a Caddyfile", "caddyfile oci", "", true},
		{"nothing above", "sh", "Do this:", false},
		{"a reason", "sh", "<!-- not run: it needs the internet -->", true},
		{"no reason", "sh", "<!-- not run: -->", false},
		{"a test", "json", "<!-- tested: docs_test.go TestCovered -->", true},
		{"a test that is not there", "json", "<!-- tested: docs_test.go TestUncovered -->", false},
		{"a file that is not there", "json", "<!-- tested: docs/docs_test.go TestCovered -->", false},
	} {
		if err := covered(block{info: row.info, above: row.above}); (err == nil) != row.ok {
			t.Errorf("%s: got %v", row.name, err)
		}
	}
}
