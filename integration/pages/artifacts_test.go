package pages

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"time"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The types of artifacts.
const (
	bundleType      = "application/vnd.dev.sigstore.bundle.v0.3+json"
	spdxType        = "application/spdx+json"
	chartConfigType = "application/vnd.cncf.helm.config.v1+json"
	chartType       = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// artifact pushes a manifest of another kind than an image, with one file.
func (c *content) artifact(
	repo, kind, layer string, file []byte, subject *ocispec.Descriptor, tags ...string,
) ocispec.Descriptor {
	c.t.Helper()
	config := c.blob(repo, []byte("{}"))
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Subject: subject,
	}
	m.Config.MediaType = ocispec.MediaTypeEmptyJSON
	if subject == nil {
		m.Config.MediaType = kind
	} else {
		m.ArtifactType = kind
	}
	m.Layers = []ocispec.Descriptor{c.blob(repo, file)}
	m.Layers[0].MediaType = layer
	return c.manifest(repo, ocispec.MediaTypeImageManifest, m, tags...)
}

// wasm pushes a component of WebAssembly with the config that its layout describes.
func (c *content) wasm(repo string, tags ...string) {
	c.t.Helper()
	layer := c.blob(repo, []byte("\x00asm\x0d\x00\x01\x00"))
	layer.MediaType = "application/wasm"
	config := c.blob(repo, c.json(map[string]any{
		"created": c.at.Format(time.RFC3339), "author": "Erich", "os": "wasip2", "architecture": "wasm",
		"layerDigests": []string{string(layer.Digest)},
		"component": map[string]any{
			"exports": []string{"wasi:http/incoming-handler@0.2.0"}, "target": "wasi:http/proxy@0.2.0",
			"imports": []string{"wasi:io/streams@0.2.0", "wasi:clocks/monotonic-clock@0.2.0", "wasi:cli/stdout@0.2.0"},
		},
	}))
	config.MediaType = "application/vnd.wasm.config.v0+json"
	c.manifest(repo, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: []ocispec.Descriptor{layer},
	}, tags...)
}

// spdx is a bill of materials in SPDX, with more packages than a page shows.
func (c *content) spdx() []byte {
	type reference struct {
		Type    string `json:"referenceType"`
		Locator string `json:"referenceLocator"`
	}
	type entry struct {
		Name     string      `json:"name"`
		Version  string      `json:"versionInfo"`
		Licence  string      `json:"licenseDeclared"`
		External []reference `json:"externalRefs"`
	}
	var packages []entry
	add := func(name, version, licence, kind string) {
		url := "pkg:" + kind + "/" + name + "@" + version
		packages = append(packages, entry{name, version, licence, []reference{{"purl", url}}})
	}
	add("next", "16.0.3", "MIT", "npm")
	add("react", "19.2.0", "MIT", "npm")
	add("openssl", "3.5.4-1~deb13u1", "Apache-2.0", "deb/debian")
	add("ca-certificates", "20250419", "MPL-2.0 AND GPL-2.0-or-later", "deb/debian")
	for n := range 70 {
		add(fmt.Sprintf("@blumeops/part-%02d", n), fmt.Sprintf("1.%d.0", n), "MIT", "npm")
	}
	return c.json(map[string]any{
		"spdxVersion": "SPDX-2.3", "name": "homepage 1.10.2", "packages": packages,
		"creationInfo": map[string]any{
			"created": c.at.Format(time.RFC3339), "creators": []string{"Tool: syft-1.38.0", "Organization: blumeops"},
		},
	})
}

// signature is a bundle of Sigstore, with a certificate as a job gets it.
func (c *content) signature() []byte {
	c.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	provider, err := asn1.Marshal("https://forge.example.org")
	if err != nil {
		c.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "sigstore-intermediate", Organization: []string{"sigstore.dev"}},
		URIs: []*url.URL{{Scheme: "https", Host: "forge.example.org",
			Path: "/blumeops/homepage/.forgejo/workflows/build.yml@refs/tags/v1.10.2"}},
		NotBefore: c.at, NotAfter: c.at.Add(10 * time.Minute),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: provider}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.json(map[string]any{
		"mediaType": bundleType,
		"verificationMaterial": map[string]any{
			"certificate": map[string]string{"rawBytes": base64.StdEncoding.EncodeToString(der)},
		},
		"messageSignature": map[string]string{"signature": "MEUCIQ"},
	})
}

// chart is a Helm chart as helm packs it.
func (c *content) chart() []byte {
	c.t.Helper()
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	archive := tar.NewWriter(zip)
	for _, file := range [][2]string{
		{"homepage/Chart.yaml", `apiVersion: v2
name: homepage
version: 0.7.1
appVersion: "1.10.2"
description: The start page of the homelab, on k3s.
home: https://forge.example.org/blumeops/homepage
maintainers:
  - {name: Erich, email: erich@example.org}
dependencies:
  - {name: redis, version: ^20.0.0, repository: "oci://registry.example.org/charts", condition: redis.enabled}
`},
		{"homepage/values.yaml", "image:\n  repository: registry.example.org/blumeops/homepage\n  tag: v1.10.2\n"},
		{"homepage/README.md", "# homepage\n\nInstalls the start page.\n"},
	} {
		header := &tar.Header{Name: file[0], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(file[1]))}
		err := archive.WriteHeader(header)
		if err == nil {
			_, err = io.WriteString(archive, file[1])
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		c.t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		c.t.Fatal(err)
	}
	return packed.Bytes()
}
