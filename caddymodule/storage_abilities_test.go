package caddymodule_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/caddymodule/storage"
)

// bareStorage keeps its content in a directory, and has no ability of a local disk.
type bareStorage struct {
	Path string `json:"path"`
	file storage.File
}

func (bareStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "oci.storage.bare", New: func() caddy.Module { return new(bareStorage) }}
}

func (s *bareStorage) Provision(ctx caddy.Context) error {
	s.file.Path = s.Path
	return s.file.Provision(ctx)
}

func (s *bareStorage) Key() string { return "bare:" + s.file.Key() }

func (s *bareStorage) Open(ctx context.Context, log *slog.Logger) (storage.Buckets, error) {
	opened, err := s.file.Open(ctx, log)
	return struct{ storage.Buckets }{opened}, err
}

// A bucket elsewhere, as in S3, has no directory, no disk and no barriers to count.
func TestAStorageWithoutALocalDiskServes(t *testing.T) {
	if _, err := caddy.GetModule("oci.storage.bare"); err != nil {
		caddy.RegisterModule(bareStorage{})
	}
	port := registrytest.FreePort(t)
	registrytest.LoadJSON(t, []byte(`{"admin": {"disabled": true}, "apps": {
		"oci": {"storage": {"module": "bare", "path": "`+t.TempDir()+
		`"}, "policy": {"allow": [{"who": "anonymous", "actions": ["*"]}]}},
		"http": {"grace_period": "2s", "metrics": {}, "servers": {"s": {"listen": ["127.0.0.1:`+fmt.Sprint(port)+
		`"], "routes": [
			{"match": [{"path": ["/metrics"]}], "handle": [{"handler": "metrics"}]},
			{"handle": [{"handler": "oci_registry"}]}]}}}}}`))
	r := registrytest.At(t, port)
	r.PushImage("team/app", "v1", registrytest.RandomBytes(1000))
	r.Want(http.StatusOK, "GET", "/v2/team/app/manifests/v1", nil)
	r.Want(http.StatusOK, "GET", "/readyz", nil)
	if n := r.Metric(`registry_storage_syncs_total{kind="file"}`); n != 0 {
		t.Errorf("got %v barriers of a storage that counts none", n)
	}
}
