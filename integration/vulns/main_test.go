package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/server"
)

// serveDatabase serves a database of vulnerabilities whose files are these, by their paths.
func serveDatabase(t *testing.T, files map[string]string) string {
	t.Helper()
	database := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, zipped := strings.CutSuffix(r.URL.Path, ".gz")
		text, ok := files[name]
		if !ok {
			http.NotFound(w, r)
			return
		}
		to := io.WriteCloser(gzip.NewWriter(w))
		if !zipped {
			to = struct {
				io.Writer
				io.Closer
			}{w, io.NopCloser(nil)}
		}
		io.WriteString(to, text)
		to.Close()
	}))
	t.Cleanup(database.Close)
	return database.URL
}

// patience bounds a run over a module of one line, on a machine that may be busy.
const patience = 10 * time.Minute

// changed is when the databases of the tests were changed last.
const changed = `{"modified": "2026-01-01T00:00:00Z"}`

func TestEverythingFailsButADatabaseOutOfReach(t *testing.T) {
	program := server.Tool(t, "govulncheck")
	module := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module example.com/used\n\ngo 1.26\n",
		"main.go": "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println() }\n",
	} {
		if err := os.WriteFile(filepath.Join(module, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, row := range []struct {
		name, database string
		missing        bool // govulncheck itself cannot be installed
		fails          string
		said           string
	}{
		{"nothing is vulnerable", serveDatabase(t, map[string]string{
			"/index/db.json": changed, "/index/modules.json": "[]", "/index/vulns.json": "[]",
		}), false, "", "No vulnerabilities found."},
		{"the program calls vulnerable code", serveDatabase(t, map[string]string{
			"/index/db.json":      changed,
			"/index/modules.json": `[{"path": "stdlib", "vulns": [{"id": "GO-2026-0001", "modified": "2026-01-01T00:00:00Z"}]}]`,
			"/ID/GO-2026-0001.json": `{"schema_version": "1.3.1", "id": "GO-2026-0001", "modified": "2026-01-01T00:00:00Z",
				"published": "2026-01-01T00:00:00Z", "summary": "Printing is dangerous", "details": "It is.",
				"database_specific": {"url": "https://example.com/GO-2026-0001", "review_status": "REVIEWED"},
				"affected": [{"package": {"name": "stdlib", "ecosystem": "Go"},
				"ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}],
				"ecosystem_specific": {"imports": [{"path": "fmt", "symbols": ["Println"]}]}}]}`,
		}), false, errFound.Error(), "GO-2026-0001"},
		{"there is no network", closed.URL, false, "", "govulncheck DID NOT RUN: its database cannot be reached"},
		{"the database is another server", serveDatabase(t, nil), false, "", "DID NOT RUN: its database cannot be reached"},
		{"the database is broken", serveDatabase(t, map[string]string{"/index/db.json": changed}), false, "govulncheck: exit status", ""},
		{"govulncheck cannot be had", serveDatabase(t, map[string]string{"/index/db.json": changed}), true,
			"install govulncheck: no proxy", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out bytes.Buffer
			one := run{row.database, module, patience, func(context.Context) (string, error) {
				if row.missing {
					return "", errors.New("no proxy")
				}
				return program, nil
			}}
			err := one.checked(t.Context(), &out)
			failed := ""
			if err != nil {
				failed = err.Error()
			}
			if (err != nil) != (row.fails != "") || !strings.HasPrefix(failed, row.fails) || !strings.Contains(out.String(), row.said) {
				t.Errorf("got %q and %q, want %q and %q", failed, &out, row.fails, row.said)
			}
		})
	}
}
