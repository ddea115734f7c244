package sites_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/eblume/caddy-registry/caddymodule"
	"github.com/eblume/caddy-registry/caddymodule/sites"
)

func TestSitesOfACaddyfile(t *testing.T) {
	for _, row := range []struct{ name, caddyfile, want string }{
		{"a name", "registry.example.org {\noci_registry\n}", "https://registry.example.org"},
		{"a name with Caddy's own authority", "registry.example.org {\ntls internal\noci_registry\n}", "https://registry.example.org private"},
		{"a name that no public authority certifies", "registry.internal:8443 {\noci_registry\n}", "https://registry.internal:8443 private"},
		{"another issuer for it", "registry.internal {\ntls {\nissuer acme https://ca.internal/acme\n}\noci_registry\n}", "https://registry.internal"},
		{"plain HTTP with a name", "http://registry.lan:5050 {\noci_registry {\nfallback docker.io\n}\n}", "http://registry.lan:5050 fallback=docker.io"},
		{"plain HTTP on port 80", "http://registry.lan {\noci_registry\n}", "http://registry.lan"},
		{"an address", "http://:5050 {\nbind 127.0.0.1\noci_registry\n}", "http://127.0.0.1:5050 loopback"},
		{"an IPv6 address", "http://:5050 {\nbind ::1\noci_registry\n}", "http://[::1]:5050 loopback"},
		{"every address", "http://:5050 {\noci_registry\n}", "http://machine:5050 wild"},
		{"a port without a scheme", ":5050 {\noci_registry\n}", "http://machine:5050 wild"},
		{"two names", "a.example.org, b.example.org {\noci_registry\n}", "https://a.example.org https://b.example.org"},
		{"a handle in a wildcard", "*.example.org {\n@r host r.example.org\nhandle @r {\noci_registry {\nupstream docker.io\n}\n}\nhandle {\nrespond no\n}\n}", "https://r.example.org upstream=docker.io"},
		{"a handle of its paths", "r.example.org {\nhandle /v2* {\noci_registry\n}\n}", "https://r.example.org"},
		{"another path, where no client could use it", "r.example.org {\nhandle_path /x/* {\noci_registry\n}\n}", ""},
		{"a wildcard alone, which names no host", "*.example.org {\noci_registry\n}", ""},
		{"a site of another kind", "example.org {\nrespond hi\n}\nr.example.org {\noci_registry\n}", "https://r.example.org"},
		{"no site", "{\nadmin off\n}", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			document, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\noci {\nprivate team/**\nmirror docker.io\n}\n}\n"+strings.TrimPrefix(row.caddyfile, "{\nadmin off\n}")), nil)
			if err != nil {
				t.Fatal(err)
			}
			found, err := sites.Read(document)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range found {
				got = append(got, s.Base("machine").String())
				for note, is := range map[string]bool{"private": s.PrivateCA, "loopback": s.Loopback(), "wild": s.Wild()} {
					if is {
						got = append(got, note)
					}
				}
				for option, value := range map[string]string{"upstream": s.Upstream, "fallback": s.Fallback} {
					if value != "" {
						got = append(got, fmt.Sprintf("%s=%s", option, value))
					}
				}
			}
			if strings.Join(got, " ") != row.want {
				t.Errorf("got %q, want %q", strings.Join(got, " "), row.want)
			}
		})
	}
}
