package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// nobody is the user in the image, who owns its directory for content.
const nobody = 65532

// image writes an image for the programs for Linux, as an OCI layout in an archive. It needs no
// base: the program is static, and has root certificates in it.
func (s *source) image(output string, programs []program) error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range programs {
		if p.os() != "linux" {
			continue
		}
		one, err := s.platform(p)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: one, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: p.os(), Architecture: p.arch()}},
		})
	}
	dir, err := os.MkdirTemp("", "image")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	root, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := root.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": s.version})); err != nil {
		return err
	}
	var files []file
	err = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		files = append(files, file{filepath.ToSlash(name), 0o644, path})
		return err
	})
	if err != nil {
		return err
	}
	f, err := os.Create(output)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := s.tar(f, files); err != nil {
		return err
	}
	return f.Close()
}

// platform is the image of one program.
func (s *source) platform(p program) (v1.Image, error) {
	var content bytes.Buffer
	if err := s.tar(&content, []file{
		{"usr/bin/caddy-registry", 0o755, p.path}, {"etc/caddy-registry/Caddyfile", 0o644, filepath.Join(s.root, "Caddyfile")},
	}); err != nil {
		return nil, err
	}
	var data bytes.Buffer
	directories := tar.NewWriter(&data)
	for _, one := range []tar.Header{
		{Name: "data/", Mode: 0o750, Uid: nobody, Gid: nobody}, {Name: "tmp/", Mode: 0o1777},
	} {
		one.Typeflag, one.ModTime, one.Format = tar.TypeDir, s.when, tar.FormatUSTAR
		if err := directories.WriteHeader(&one); err != nil {
			return nil, err
		}
	}
	if err := directories.Close(); err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, layer := range [][]byte{data.Bytes(), content.Bytes()} {
		added, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(layer)), nil
		}, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return nil, err
		}
		if image, err = mutate.Append(image, mutate.Addendum{
			Layer: added, History: v1.History{CreatedBy: "integration/release", Created: v1.Time{Time: s.when}},
		}); err != nil {
			return nil, err
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = p.os(), p.arch(), v1.Time{Time: s.when}
	config.Config = v1.Config{
		User:         "65532:65532",
		Entrypoint:   []string{"/usr/bin/caddy-registry"},
		Cmd:          []string{"run", "--config", "/etc/caddy-registry/Caddyfile"},
		WorkingDir:   "/data",
		ExposedPorts: map[string]struct{}{"5050/tcp": {}},
		Volumes:      map[string]struct{}{"/data": {}},
		Env: []string{
			"PATH=/usr/bin", "HOME=/data", "XDG_DATA_HOME=/data", "XDG_CONFIG_HOME=/data",
			"REGISTRY_DATA=/data/storage", "REGISTRY_BIND=0.0.0.0", "REGISTRY_ADMIN=unix//data/admin.sock",
		},
		Labels: map[string]string{
			"org.opencontainers.image.title":    product,
			"org.opencontainers.image.version":  s.version,
			"org.opencontainers.image.revision": s.commit,
			"org.opencontainers.image.source":   "https://" + modulePath,
		},
	}
	return mutate.ConfigFile(image, config)
}
