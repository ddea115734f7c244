package caddymodule_test

import (
	"context"
	"encoding/json"
	"iter"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// countedStorage is a directory that counts how often its buckets are listed.
type countedStorage struct{ storage.File }

// counted is that number, over all such storages.
var counted atomic.Int64

func (countedStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "oci.storage.counted", New: func() caddy.Module { return new(countedStorage) }}
}

func (s *countedStorage) Key() string { return "counted:" + s.File.Key() }

func (s *countedStorage) Open(ctx context.Context, log *slog.Logger) (storage.Buckets, error) {
	opened, err := s.File.Open(ctx, log)
	if err != nil {
		return nil, err
	}
	return countedBuckets{opened, opened.(storage.LocalDir), opened.(storage.DiskSpace)}, nil
}

type countedBuckets struct {
	storage.Buckets
	storage.LocalDir
	storage.DiskSpace
}

func (b countedBuckets) Bucket(tree string) (bucket.Bucket, error) {
	opened, err := b.Buckets.Bucket(tree)
	if err != nil {
		return nil, err
	}
	return countedBucket{opened.(*dir.Bucket)}, nil
}

// countedBucket has all abilities of a directory.
type countedBucket struct{ *dir.Bucket }

func (b countedBucket) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	counted.Add(1)
	return b.Bucket.List(ctx, prefix, after)
}

func (b countedBucket) Uploads(ctx context.Context) iter.Seq2[bucket.UploadInfo, error] {
	counted.Add(1)
	return b.Bucket.Uploads(ctx)
}

// No page and no address of the API lists a bucket, asks an upstream or counts a pull, whoever looks.
func TestPagesCostNothing(t *testing.T) {
	if _, err := caddy.GetModule("oci.storage.counted"); err != nil {
		caddy.RegisterModule(countedStorage{})
	}
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	registrytest.PutImage(t, hub, "library/nginx", "latest", registrytest.RandomBytes(5000))
	port := registrytest.FreePort(t)
	config := registrytest.CaddyfileWith(port, t.TempDir(), "local_user ada "+registrytest.PasswordHash()+` admins
policy {
	allow anonymous read fetch create
	allow group admins *
}
`+registrytest.Mirror("docker.io", hub), "")
	config = strings.Replace(config, "storage file", "storage counted", 1)
	registrytest.Load(t, config)
	if counted.Load() == 0 {
		t.Fatal("opening the storage listed nothing, so nothing is counted")
	}
	r := registrytest.At(t, port)
	r.PushImage("team/app", "v0", registrytest.RandomBytes(1000))
	image := r.PushImage("team/app", "v1", registrytest.RandomBytes(2000))
	r.Want(http.StatusOK, "GET", "/v2/team/app/manifests/v1", nil)
	r.Want(http.StatusOK, "GET", "/v2/docker.io/library/nginx/manifests/latest", nil)
	r.Eventually("the mirror holds the image", func() bool {
		response, _ := r.Do("GET", "/api/images/docker.io/library/nginx:latest", nil)
		return response.StatusCode == http.StatusOK
	})
	// pulls are what was counted until now: all of it is written when the storage closes.
	pulls := func(name string) int64 {
		registrytest.Load(t, "{\n admin off\n}\n")
		registrytest.Released(t)
		registrytest.Load(t, config)
		_, data := r.Want(http.StatusOK, "GET", "/api/images/"+name, nil)
		var answer struct {
			Repository struct{ Pulls struct{ N int64 } }
		}
		if err := json.Unmarshal(data, &answer); err != nil || answer.Repository.Pulls.N == 0 {
			t.Errorf("no pull of %s is counted: %s, %v", name, data, err)
		}
		return answer.Repository.Pulls.N
	}
	repos := []string{"team/app", "docker.io/library/nginx"}
	before := map[string]int64{}
	for _, repo := range repos {
		before[repo] = pulls(repo)
	}
	admin := visit(t, port, nil)
	admin.page(http.StatusSeeOther, "/login", passwordForm("ada", registrytest.Password))
	r.Eventually("the content is counted", func() bool {
		_, body := admin.page(http.StatusOK, "/admin/storage", nil)
		return !strings.Contains(body, "Not counted yet")
	})
	asked := len(hub.Requests())

	at := "/images/team/app@" + image.String()
	forAll := []string{
		"/", "/images", "/images?order=size", "/images?q=app", "/images?q=" + image.String()[:20], "/images?in=docker.io",
		"/images/team/app", "/images/team/app?kind=untagged", "/images/team/app:v1",
		"/images/team/app:v1/-/history", at, at + "/-/file/" + image.String(),
		"/images/docker.io/library/nginx", "/images/docker.io/library/nginx:latest",
		"/mirrors", "/mirrors/docker.io", "/images/docker.io/library/nginx/-/upstream", "/activity", "/activity?repo=team/app",
		"/api/state", "/api/images", "/api/images/team/app/-/tags", "/api/images/team/app/-/images", "/api/images/team/app:v1",
		"/api/images/team/app@" + image.String() + "/-/users", "/api/mirrors", "/api/mirrors/docker.io", "/api/activity",
	}
	forAdmins := append(forAll, "/admin/storage", "/api/storage",
		"/images/team/app/-/delete?tag=v1", "/images/team/app/-/delete")
	for who, paths := range map[string][]string{"a visitor": forAll, "an administrator": forAdmins} {
		for _, path := range paths {
			// The registry collects and counts by itself meanwhile, but not each time.
			var listed int64
			for range 3 {
				begun := counted.Load()
				if who == "a visitor" {
					r.Want(http.StatusOK, "GET", path, nil)
				} else {
					admin.page(http.StatusOK, path, nil)
				}
				if listed = counted.Load() - begun; listed == 0 {
					break
				}
			}
			if listed != 0 {
				t.Errorf("%s by %s listed buckets %d times", path, who, listed)
			}
		}
	}
	if got := len(hub.Requests()); got != asked {
		t.Errorf("%d requests went to the upstream", got-asked)
	}
	for _, repo := range repos {
		if got := pulls(repo); got != before[repo] {
			t.Errorf("%s has %d pulls, and had %d before it was looked at", repo, got, before[repo])
		}
	}
}
