package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

func TestCacheMeans(t *testing.T) {
	t.Setenv("CACHE_TEST_REDIS", "redis.example:6379")
	for _, row := range []struct{ name, option, want string }{
		{"memory", "cache memory", `{"module":"memory"}`},
		{"memory of a size", "cache memory 64MiB", `{"module":"memory","size":"64MiB"}`},
		{"every option of Redis", "cache redis {\naddress r:1\nuser u\npassword {env.P}\ndb 3\ntls\nprefix p\n" +
			"secret {file./s}\nsize 64MiB\n}",
			`{"module":"redis","address":["r:1"],"user":"u","password":"{env.P}","db":3,"tls":{},"prefix":"p",` +
				`"secret":"{file./s}","size":"64MiB"}`},
		{"an address from the environment", "cache redis {\naddress {$CACHE_TEST_REDIS:}\n}",
			`{"module":"redis","address":["redis.example:6379"]}`},
		{"a variable that is not set", "cache redis {\naddress {$CACHE_TEST_NO_REDIS:}\n}", `{"module":"redis"}`},
		{"TLS with files", "cache redis {\naddress r\ntls {\nca /ca.pem\nclient_certificate /c.pem /c.key\n" +
			"server_name redis\n}\n}",
			`{"module":"redis","address":["r"],"tls":{"ca":"/ca.pem",` +
				`"client_certificate":{"certificate":"/c.pem","key":"/c.key"},"server_name":"redis"}}`},
		{"sentinels", "cache redis {\naddress a b:1\nsentinel mymaster {\nuser s\npassword {env.S}\n}\ndb 1\n}",
			`{"module":"redis","address":["a","b:1"],"sentinel":{"master":"mymaster","user":"s",` +
				`"password":"{env.S}"},"db":1}`},
		{"a sentinel without a block", "cache redis {\naddress a\nsentinel mymaster\n}",
			`{"module":"redis","address":["a"],"sentinel":{"master":"mymaster"}}`},
		{"a cluster", "cache redis {\naddress a b c\ncluster\n}",
			`{"module":"redis","address":["a","b","c"],"cluster":true}`},
		{"an address in quotes", "cache redis {\naddress \"{$CACHE_TEST_NO_REDIS}\"\n}", `{"module":"redis"}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got struct {
				Apps struct{ OCI struct{ Cache any } }
			}
			if err := json.Unmarshal(registrytest.Adapt(t, "{\noci {\n"+row.option+"\n}\n}"), &got); err != nil {
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
		{"a size of nothing", "cache memory 0", "\"0\" is not a size"},
		{"a size of nothing beside Redis", "cache redis {\nsize 0\n}", "size: \"0\" is not a size"},
		{"a size that is none", "cache redis {\nsize much\n}", "size: \"much\" is not a size"},
		{"a block of the memory", "cache memory {\nsize 1MiB\n}",
			"unknown option \"size\" of cache memory, which has none"},
		{"an unknown option", "cache redis {\nreplica a\n}", "unknown option \"replica\" of cache redis"},
		{"an unknown option of tls", "cache redis {\ntls {\nkey a\n}\n}", "unknown option \"key\" of tls"},
		{"an unknown option of sentinel", "cache redis {\nsentinel m {\ndb 1\n}\n}",
			"unknown option \"db\" of sentinel"},
		{"sentinels without a master", "cache redis {\naddress a b\nsentinel\n}",
			"such as: sentinel mymaster, at Caddyfile:5"},
		{"sentinels of a cluster", "cache redis {\naddress a b\nsentinel m\ncluster\n}", "exclude each other"},
		{"a cluster with a database", "cache redis {\naddress a b\ncluster\ndb 1\n}", "remove db or cluster"},
		{"the same without an address", "cache redis {\ncluster\ndb 1\n}", "remove db or cluster"},
		{"a certificate without a key", "cache redis {\ntls {\nclient_certificate a\n}\n}", "Caddyfile:5"},
		{"a sentinel's password in the file", "cache redis {\nsentinel m {\npassword hunter2\n}\n}",
			"password of sentinel"},
		{"a database that is not a number", "cache redis {\ndb x\n}", "db"},
		{"two addresses of nothing", "cache redis {\naddress a b\n}", "add cluster, or sentinel"},
		{"an address that is a URL", "cache redis {\naddress redis://a\n}", "address"},
		{"a password in the file", "cache redis {\npassword hunter2\n}", "password"},
		{"a secret in the file", "cache redis {\nsecret 0123456789abcdef\n}", "secret"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\noci {\n"+row.option+"\n}\n}"),
				map[string]any{"filename": "Caddyfile"})
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q in it", err, row.want)
			}
		})
	}
}

// Neither a secret nor a file is looked for, and nobody is dialled: the addresses are
// of no host.
func TestValidateNeedsNothingOfRedis(t *testing.T) {
	config := registrytest.Adapt(t, "{\nadmin off\noci {\nstorage file "+t.TempDir()+`
		cache redis {
			address a.invalid {env.CACHE_TEST_UNSET}
			sentinel mymaster {
				password {env.CACHE_TEST_UNSET}
			}
			password {file./no/such/file}
			secret {file./no/such/file}
			tls {
				ca /no/such/file
				client_certificate /no/such/file /no/such/file
			}
		}
	}
}`)
	if err := registrytest.Validate(t, string(config)); err != nil {
		t.Error(err)
	}
}

func TestRegistriesThatShareASecretShareWhatTheyLearned(t *testing.T) {
	server := miniredis.RunT(t)
	server.RequireAuth("hunter2")
	up := upstreamtest.New(t, upstreamtest.Config{})
	up.Manifest("library/nginx", "application/vnd.oci.image.index.v1+json",
		[]byte(`{"schemaVersion":2,"manifests":[]}`), "latest")
	t.Setenv("CACHE_TEST_PASSWORD", "hunter2")
	t.Setenv("CACHE_TEST_SECRET", "a secret that several registries have")
	t.Setenv("CACHE_TEST_OTHER", "a secret that another registry has")
	first := t.TempDir()
	for _, row := range []struct {
		name, storage, secret string
		asked                 bool
	}{
		{"the first asks the upstream", first, "secret {env.CACHE_TEST_SECRET}", true},
		{"another storage with the same secret does not", "", "secret {env.CACHE_TEST_SECRET}", false},
		{"one with another secret asks", t.TempDir(), "secret {env.CACHE_TEST_OTHER}", true},
		{"one with its storage's own secret asks", t.TempDir(), "", true},
		{"and so does another storage", t.TempDir(), "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			port := registrytest.FreePort(t)
			// asks tells whether a registry does to whose storage the image is new.
			asks := func(storage string) bool {
				up.Forget()
				registrytest.Serve(t, port, storage, fmt.Sprintf("mirror mirrored.test {\nupstream %s\n%s\n}\n"+
					"cache redis {\naddress %s\npassword {env.CACHE_TEST_PASSWORD}\n%s\n}", up.URL,
					registrytest.Unhurried, server.Addr(), row.secret), "")
				registrytest.At(t, port).Want(200, "GET", "/v2/mirrored.test/library/nginx/manifests/latest", nil)
				return len(up.Requests()) > 0
			}
			if row.asked && !asks(row.storage) {
				t.Error("the upstream was not asked")
			}
			if !row.asked {
				// Redis has 100 ms, which may be too short for a busy machine.
				registrytest.Eventually(t, "a registry does not ask", func() bool { return !asks(t.TempDir()) })
			}
			_, metrics := registrytest.At(t, port).Do("GET", "/metrics", nil)
			if !strings.Contains(string(metrics), `registry_cache_requests_total{operation="get",result="`) {
				t.Error("the cache's requests are not counted")
			}
		})
	}
}

// A registry starts and serves without its Redis, and an address that resolves to
// nothing is none.
func TestARegistryStartsWithoutItsRedis(t *testing.T) {
	up := upstreamtest.New(t, upstreamtest.Config{})
	up.Manifest("library/nginx", "application/vnd.oci.image.index.v1+json",
		[]byte(`{"schemaVersion":2,"manifests":[]}`), "latest")
	for _, address := range []string{fmt.Sprintf("127.0.0.1:%d", registrytest.FreePort(t)), "",
		"{env.CACHE_TEST_UNSET}", "no-such-host.invalid",
		"127.0.0.1:1 127.0.0.1:2\ncluster", "127.0.0.1:1 127.0.0.1:2\nsentinel mymaster", "127.0.0.1:1\ntls"} {
		t.Run("address "+address, func(t *testing.T) {
			port := registrytest.FreePort(t)
			registrytest.Serve(t, port, t.TempDir(),
				fmt.Sprintf("mirror mirrored.test {\nupstream %s\n%s\n}\ncache redis {\naddress %s\n}", up.URL,
					registrytest.Unhurried, address), "")
			registrytest.At(t, port).Want(200, "GET", "/v2/mirrored.test/library/nginx/manifests/latest", nil)
		})
	}
}
