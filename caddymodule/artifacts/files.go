package artifacts

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// File is a file of an artifact, as its manifest names it.
type File struct {
	// Name is its title, or empty.
	Name      string
	MediaType string
	Digest    digest.Digest
	Size      int64 // in bytes
	// Predicate is the type of the statement that is in it (in-toto), or empty.
	Predicate string
	// Certificates are those of a signature, as cosign writes them beside it.
	Certificates []Certificate
}

// Files returns the layers or blobs of a manifest, at most MaxFiles, and whether there are more. Those
// whose digest is none are left out. A config that says what the artifact is comes first.
func Files(manifest []byte) (files []File, more bool) {
	t, configured := newTokens(bytes.NewReader(manifest)), false
	_ = t.object(func(name string) error { // what comes before a fault is listed
		if name == "config" {
			config, err := t.file()
			if config.MediaType == wasmConfig && config.Digest.Validate() == nil && !configured {
				configured = true
				config.Name = cmp.Or(config.Name, "config.json")
				files = slices.Insert(files, 0, config)
				if len(files) > MaxFiles {
					files, more = files[:MaxFiles], true
				}
			}
			return err
		}
		if name != "layers" && name != "blobs" {
			return t.skip()
		}
		return t.array(func() error {
			if len(files) >= MaxFiles {
				more = true
				return t.skip()
			}
			file, err := t.file()
			if file.Digest.Validate() == nil {
				files = append(files, file)
			}
			return err
		})
	})
	return files, more
}

// file reads a descriptor (image-spec, descriptor.md).
func (t *tokens) file() (f File, err error) {
	certificates := ""
	err = t.object(func(name string) error {
		value := ""
		var err error
		switch name {
		case "mediaType":
			f.MediaType, err = t.text()
		case "digest":
			value, err = t.text()
			f.Digest = digest.Digest(value)
		case "size":
			value, err = t.text()
			f.Size, _ = strconv.ParseInt(value, 10, 64)
		case "annotations":
			err = t.object(func(name string) error {
				value, err := t.long()
				switch name {
				case ocispec.AnnotationTitle:
					f.Name = clip(value)
				case "in-toto.io/predicate-type", "predicateType":
					f.Predicate = clip(value)
				case "dev.sigstore.cosign/certificate":
					certificates = value
				}
				return err
			})
		default:
			err = t.skip()
		}
		return err
	})
	if certificates != "" {
		f.Certificates = Certificates(certificates)
	}
	return f, err
}

// FileName is a name under which a browser may keep the file: that of its title, else its digest.
func (f File) FileName() string {
	name := f.Name[strings.LastIndexAny(f.Name, `/\`)+1:]
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"%:*?<>|`, r) {
			return '_'
		}
		return r
	}, name)
	if strings.Trim(name, "._ ") == "" {
		return f.Digest.Encoded()
	}
	return name
}
