package registry

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// architectureLimit keeps ARCHITECTURE.md a page that can be read at once; details are in
// docs/understand/, and reasons in docs/decisions/.
const architectureLimit = 15 << 10

var quoted = regexp.MustCompile("`([^`\n]+)`")

// rooms returns the folders in the first column of ARCHITECTURE.md's table. A folder
// without a slash before its end stands beside the first one of its row.
func rooms(text string) map[string]bool {
	found := map[string]bool{}
	_, table, _ := strings.Cut(text, "\n## The rooms\n")
	table, _, _ = strings.Cut(table, "\n## ")
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		parent := ""
		for _, match := range quoted.FindAllStringSubmatch(cells[1], -1) {
			folder := path.Clean(match[1])
			if parent == "" || strings.Contains(folder, "/") {
				parent = path.Dir(folder)
			} else {
				folder = path.Join(parent, folder)
			}
			found[folder] = true
		}
	}
	return found
}

func TestEveryPackageHasItsRowInTheArchitecture(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > architectureLimit {
		t.Errorf("ARCHITECTURE.md has %d bytes, and may have %d: move text to docs/understand/", len(text), architectureLimit)
	}
	found := rooms(string(text))
	for name := range strings.Lines(golang(t, "list", "./...")) {
		if name = strings.TrimPrefix(strings.TrimSpace(name), module+"/"); name != module && !found[name] {
			t.Errorf("the table of rooms has no row for %s", name)
		}
	}
	for room := range found {
		if info, err := os.Stat(room); err != nil || !info.IsDir() {
			t.Errorf("the table of rooms has a row for %s, which is not a folder", room)
		}
	}
}

// Documents for those who change the code name files, which move.
func TestFilesThatTheArchitectureNamesExist(t *testing.T) {
	documents := []string{"ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"}
	for _, folder := range []string{"docs/understand", "docs/decisions"} {
		more, err := filepath.Glob(folder + "/*.md")
		if err != nil || len(more) == 0 {
			t.Fatalf("%s has no documents: %v", folder, err)
		}
		documents = append(documents, more...)
	}
	checked := 0
	for _, document := range documents {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range quoted.FindAllStringSubmatch(string(text), -1) {
			top, _, below := strings.Cut(match[1], "/")
			switch top {
			case "core", "policies", "caddymodule", "integration":
			default:
				continue
			}
			if !below || strings.ContainsAny(match[1], "* ") {
				continue
			}
			checked++
			if _, err := os.Stat(match[1]); err != nil {
				t.Errorf("%s names %s, which does not exist", document, match[1])
			}
		}
	}
	if checked < 20 {
		t.Errorf("the documents name only %d files: this test looks at the wrong text", checked)
	}
}

func TestEveryDecisionIsListed(t *testing.T) {
	list, err := os.ReadFile("docs/decisions/README.md")
	if err != nil {
		t.Fatal(err)
	}
	records, err := filepath.Glob("docs/decisions/0*.md")
	if err != nil || len(records) == 0 {
		t.Fatalf("found no decisions: %v", err)
	}
	for _, record := range records {
		text, err := os.ReadFile(record)
		if err != nil {
			t.Fatal(err)
		}
		title, _, _ := strings.Cut(strings.TrimPrefix(string(text), "# "), "\n")
		if !strings.Contains(string(list), "["+title+"]("+filepath.Base(record)+")") {
			t.Errorf("docs/decisions/README.md does not list %q as %s", title, filepath.Base(record))
		}
		for _, part := range []string{"**Context.**", "**Decision.**", "**Price.**"} {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s has no %s", record, part)
			}
		}
	}
}
