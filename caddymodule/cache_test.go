package caddymodule

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

func TestCacheMeans(t *testing.T) {
	t.Setenv("CACHE_TEST_REDIS", "redis.example:6379")
	for _, row := range []struct{ name, option, want string }{
		{"memory", "cache memory", `{"module":"memory"}`},
		{"memory of a size", "cache memory 64MiB", `{"module":"memory","size":"64MiB"}`},
		{"every option of Redis", "cache redis {\naddress r:1\nuser u\npassword {env.P}\ndb 3\ntls\nprefix p\nsecret {file./s}\n}",
			`{"module":"redis","address":"r:1","user":"u","password":"{env.P}","db":3,"tls":true,"prefix":"p","secret":"{file./s}"}`},
		{"an address from the environment", "cache redis {\naddress {$CACHE_TEST_REDIS:}\n}", `{"module":"redis","address":"redis.example:6379"}`},
		{"a variable that is not set", "cache redis {\naddress {$CACHE_TEST_NO_REDIS:}\n}", `{"module":"redis"}`},
		{"an address in quotes", "cache redis {\naddress \"{$CACHE_TEST_NO_REDIS}\"\n}", `{"module":"redis"}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got struct {
				Apps struct{ OCI struct{ Cache any } }
			}
			if err := json.Unmarshal(adapt(t, "{\noci {\n"+row.option+"\n}\n}"), &got); err != nil {
				t.Fatal(err)
			}
			var want any
			json.Unmarshal([]byte(row.want), &want)
			if !reflect.DeepEqual(got.Apps.OCI.Cache, want) {
				t.Errorf("got %v, want %v", got.Apps.OCI.Cache, want)
			}
		})
	}
}

func TestCacheRefuses(t *testing.T) {
	for _, row := range []struct{ name, option, want string }{
		{"no module", "cache", "Caddyfile:3"},
		{"an unknown one", "cache disk", "oci.cache.disk"},
		{"two sizes", "cache memory 1MiB 2MiB", "Caddyfile:3"},
		{"an unknown option", "cache redis {\nsentinel a\n}", "sentinel"},
		{"an option that is here twice", "cache redis {\ndb 1\ndb 2\n}", "twice"},
		{"a database that is no number", "cache redis {\ndb x\n}", "db"},
		{"two addresses", "cache redis {\naddress a b\n}", "Caddyfile:4"},
		{"an address that is a URL", "cache redis {\naddress redis://a\n}", "address"},
		{"a password in the file", "cache redis {\npassword hunter2\n}", "password"},
		{"a secret in the file", "cache redis {\nsecret 0123456789abcdef\n}", "secret"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\noci {\n"+row.option+"\n}\n}"), map[string]any{"filename": "Caddyfile"})
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q in it", err, row.want)
			}
		})
	}
}

func TestRegistriesThatShareASecretShareWhatTheyLearned(t *testing.T) {
	server := miniredis.RunT(t)
	server.RequireAuth("hunter2")
	up := upstreamtest.New(t, upstreamtest.Options{})
	up.Manifest("library/nginx", "application/vnd.oci.image.index.v1+json", []byte(`{"schemaVersion":2,"manifests":[]}`), "latest")
	t.Setenv("CACHE_TEST_PASSWORD", "hunter2")
	t.Setenv("CACHE_TEST_SECRET", "a secret that several registries have")
	t.Setenv("CACHE_TEST_OTHER", "a secret that another registry has")
	first := t.TempDir()
	for _, row := range []struct {
		name, storage, secret string
		asked                 bool
	}{
		{"the first asks the upstream", first, "secret {env.CACHE_TEST_SECRET}", true},
		{"another storage with the same secret does not", t.TempDir(), "secret {env.CACHE_TEST_SECRET}", false},
		{"one with another secret asks", t.TempDir(), "secret {env.CACHE_TEST_OTHER}", true},
		{"one with its storage's own secret asks", t.TempDir(), "", true},
		{"and so does another storage", t.TempDir(), "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			up.Forget()
			port := freePort(t)
			load(t, site(port, row.storage, fmt.Sprintf("mirror mirrored.test {\nupstream %s\n}\ncache redis {\naddress %s\npassword {env.CACHE_TEST_PASSWORD}\n%s\n}", up.URL, server.Addr(), row.secret), ""))
			at(t, port).want(200, "GET", "/v2/mirrored.test/library/nginx/manifests/latest", nil)
			if saw := up.Requests(); (len(saw) > 0) != row.asked {
				t.Errorf("the upstream saw %q; want that it was asked: %v", saw, row.asked)
			}
			_, metrics := at(t, port).do("GET", "/metrics", nil)
			if !strings.Contains(string(metrics), `registry_cache_requests_total{operation="get",result="`) {
				t.Error("the cache's requests are not counted")
			}
		})
	}
}

// A registry starts and serves without its Redis, and an address that resolves to
// nothing is none.
func TestARegistryStartsWithoutItsRedis(t *testing.T) {
	up := upstreamtest.New(t, upstreamtest.Options{})
	up.Manifest("library/nginx", "application/vnd.oci.image.index.v1+json", []byte(`{"schemaVersion":2,"manifests":[]}`), "latest")
	for _, address := range []string{fmt.Sprintf("127.0.0.1:%d", freePort(t)), "", "{env.CACHE_TEST_UNSET}", "no-such-host.invalid"} {
		t.Run("address "+address, func(t *testing.T) {
			port := freePort(t)
			load(t, site(port, t.TempDir(), fmt.Sprintf("mirror mirrored.test {\nupstream %s\n}\ncache redis {\naddress %s\n}", up.URL, address), ""))
			at(t, port).want(200, "GET", "/v2/mirrored.test/library/nginx/manifests/latest", nil)
		})
	}
}
