package config

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/eblume/caddy-registry/caddymodule/authenticators"
	"github.com/eblume/caddy-registry/caddymodule/option"
)

func TestCaddyfileMeans(t *testing.T) {
	day := caddy.Duration(24 * time.Hour)
	for _, row := range []struct {
		name, options string
		want          Registry
	}{
		{"nothing", "", Registry{}},
		{"a url", "url https://registry.example.com", Registry{URL: "https://registry.example.com"}},
		{"hostnames on several lines", "hostnames a b:5050\nhostnames c", Registry{Hostnames: []string{"a", "b:5050", "c"}}},
		{"private globs", "private team/** tools/*", Registry{Private: []string{"team/**", "tools/*"}}},
		{"a storage", "storage file /srv/data", Registry{StorageRaw: json.RawMessage(`{"module":"file","path":"/srv/data"}`)}},
		{"a storage with its default path", "storage file", Registry{StorageRaw: json.RawMessage(`{"module":"file"}`)}},
		{"a collector", "gc {\ninterval 12h\ngrace 30m\nuntagged 1d\nuploads 2d\n}", Registry{GC: &GC{
			Interval: day / 2, Grace: caddy.Duration(30 * time.Minute), Untagged: day, Uploads: 2 * day,
		}}},
		{"mirrors", "mirror ghcr.io\nmirror docker.io {\nupstream https://a http://b:5000\ncredentials {env.U} {env.P}\nttl 1d\nmax_connections 4\nclient_certificate c k\n}", Registry{Mirrors: map[string]*Mirror{
			"ghcr.io": {},
			"docker.io": {
				Upstreams: []string{"https://a", "http://b:5000"}, Credentials: &Credentials{"{env.U}", "{env.P}"},
				TTL: day, MaxConnections: 4, ClientCertificate: &option.ClientCertificate{Certificate: "c", Key: "k"},
			},
		}}},
		{"verification", "verify {\nevery 7d\nrate 50MiB\n}", Registry{Verify: &Verify{Every: 7 * day, Rate: "50MiB"}}},
		{"verification by command alone", "verify {\nrate 50MiB\n}", Registry{Verify: &Verify{Rate: "50MiB"}}},
		{"untagged manifests kept", "gc {\nuntagged keep\n}", Registry{GC: &GC{}}},
		{"local users", "local_user erich $2a$x admins staff\nlocal_user ada {env.HASH}", Registry{LocalUsers: authenticators.LocalUsers{
			{Name: "erich", Hash: "$2a$x", Groups: []string{"admins", "staff"}, Line: "Caddyfile:3"},
			{Name: "ada", Hash: "{env.HASH}", Line: "Caddyfile:4"},
		}}},
		{"a policy", "policy {\nallow anonymous *\n}", Registry{Policy: &Policy{
			Allow: []Rule{{Who: "anonymous", Actions: []string{"*"}, Line: "Caddyfile:4"}},
		}}},
		{"a policy of groups", "policy {\nallow group admins read create on team/** tools/*\ndeny signed_in delete\n}", Registry{Policy: &Policy{
			Allow: []Rule{{Who: "group admins", Actions: []string{"read", "create"}, On: []string{"team/**", "tools/*"}, Line: "Caddyfile:4"}},
			Deny:  []Rule{{Who: "signed_in", Actions: []string{"delete"}, Line: "Caddyfile:5"}},
		}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := "{\noci {\n" + row.options + "\n}\n}"
			document, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
			if err != nil {
				t.Fatal(err)
			}
			var got struct{ Apps struct{ OCI Registry } }
			if err := json.Unmarshal(document, &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Apps.OCI, row.want) {
				t.Errorf("got %+v, want %+v", got.Apps.OCI, row.want)
			}
		})
	}
}
