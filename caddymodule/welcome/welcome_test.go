package welcome

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	for _, row := range []struct {
		name  string
		about About
		want  string
	}{
		{"keys by the command", About{Program: "bin/caddy-registry", Storage: "/srv/data", URLs: []string{"http://127.0.0.1:5050", "https://registry.test"}, Group: "admins"}, `
Registry is served: http://127.0.0.1:5050 https://registry.test
Make an API key: bin/caddy-registry registry key create --storage /srv/data --user me --group admins
Nobody can sign in on the pages: set oidc or local_user in the block oci
`},
		{"words that a shell would take apart", About{Program: "caddy-registry", Storage: "/srv/my data", URLs: []string{"http://a"}, Group: "it's us"}, `
Registry is served: http://a
Make an API key: caddy-registry registry key create --storage '/srv/my data' --user me --group 'it'\''s us'
Nobody can sign in on the pages: set oidc or local_user in the block oci
`},
		{"people sign in", About{URLs: []string{"https://registry.test"}, Group: "admins", Pages: "https://registry.test"}, `
Registry is served: https://registry.test
Sign-in is configured: https://registry.test/login
People make API keys on their page: https://registry.test/user/apikey
`},
		{"nobody may push", About{URLs: []string{"http://a"}}, `
Registry is served: http://a
No group may push: add a rule like ` + "`allow group admins *`" + ` in the block policy
Nobody can sign in on the pages: set oidc or local_user in the block oci
`},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out strings.Builder
			row.about.print(&out)
			if got := "\n" + out.String(); got != row.want {
				t.Errorf("got %s\nwant %s", got, row.want)
			}
		})
	}
}

// A file gets nothing; the lines go to the log.
func TestFileIsNotATerminal(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var log bytes.Buffer
	Say(file, slog.New(slog.NewTextHandler(&log, nil)), About{Program: "p", Storage: "s", URLs: []string{"http://a"}, Group: "g"})
	if info, err := file.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("the file has %d bytes, %v; want none", info.Size(), err)
	}
	if got := log.String(); strings.Count(got, "level=INFO") != 3 || !strings.Contains(got, `msg="registry is served" urls=http://a`) {
		t.Errorf("got %s", got)
	}
}
