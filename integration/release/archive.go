package main

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
)

// file is a file of an archive, of an image or of a package.
type file struct {
	name string // in the archive
	mode int64
	from string // on this machine
}

// archive writes the archive of a program.
func (s *source) archive(output string, p program) (err error) {
	name := s.name(p.os() + "_" + p.arch())
	files := []file{{product, 0o755, p.path}}
	for _, one := range []string{"Caddyfile", "CHANGELOG.md", "LICENSE", "README.md"} {
		files = append(files, file{one, 0o644, filepath.Join(s.root, one)})
	}
	starts := map[string][]string{
		"linux":  {"systemd/caddy-registry.service", "systemd/caddy-registry.sysusers"},
		"darwin": {"launchd/registry.plist"},
	}
	for _, one := range starts[p.os()] {
		files = append(files, file{filepath.Base(one), 0o644, filepath.Join(s.root, "examples", one)})
	}
	for i := range files {
		files[i].name = name + "/" + files[i].name
	}
	f, err := os.Create(filepath.Join(output, name+".tar.gz"))
	if err != nil {
		return err
	}
	defer f.Close()
	zipped, err := gzip.NewWriterLevel(f, gzip.DefaultCompression)
	if err != nil {
		return err
	}
	if err := s.tar(zipped, files); err != nil {
		return err
	}
	if err := zipped.Close(); err != nil {
		return err
	}
	return f.Close()
}

// tar writes files, which belong to root and are as old as the commit.
func (s *source) tar(w io.Writer, files []file) error {
	archive := tar.NewWriter(w)
	for _, one := range files {
		content, err := os.ReadFile(one.from)
		if err != nil {
			return err
		}
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: one.name, Mode: one.mode, Size: int64(len(content)), ModTime: s.when, Format: tar.FormatUSTAR,
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(content); err != nil {
			return err
		}
	}
	return archive.Close()
}
