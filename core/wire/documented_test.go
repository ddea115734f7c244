package wire

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// docs/look-up/errors.md lists each code with each status that it is sent with, and none
// that is not sent.
func TestErrorsAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "look-up", "errors.md"))
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		code   string
		status int
	}
	documented := map[answer]bool{}
	rows := regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| ([0-9]{3}) \\|")
	for _, row := range rows.FindAllStringSubmatch(string(page), -1) {
		status, err := strconv.Atoi(row[2])
		if err != nil {
			t.Fatal(err)
		}
		documented[answer{row[1], status}] = true
	}
	sent := map[answer]bool{{errInternal.Code, http.StatusInternalServerError}: true}
	for condition, status := range statuses {
		sent[answer{condition.Code, status}] = true
	}
	for a := range sent {
		if !documented[a] {
			t.Errorf("%s with status %d is not documented", a.code, a.status)
		}
	}
	for a := range documented {
		if !sent[a] {
			t.Errorf("%s with status %d is documented, and never sent", a.code, a.status)
		}
	}
}
