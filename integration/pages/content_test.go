package pages

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/client"
)

// patience bounds every wait: the machine may be busy.
const patience = 45 * time.Second

// step is a line of an image's history, and the size of its layer in thousandths of the unit of a
// content; 0: it has none.
type step struct {
	line string
	size int
}

// The layers that images share.
var (
	debian = []step{{"# debian.sh --arch 'amd64' out/ 'trixie' '@1764000000'", 29100}}
	node   = append(debian[:1:1],
		step{"RUN /bin/sh -c apt-get update && apt-get install -y --no-install-recommends ca-certificates tzdata tini && rm -rf /var/lib/apt/lists/* # buildkit", 4200},
		step{"ENV NODE_VERSION=24.1.0", 0},
		step{"RUN /bin/sh -c curl -fsSL https://nodejs.org/dist/v$NODE_VERSION/node-v$NODE_VERSION-linux-x64.tar.xz | tar -xJ --strip-components=1 -C /usr/local # buildkit", 11800})
	alpine = []step{{"ADD alpine-minirootfs-3.23.0-x86_64.tar.gz / # buildkit", 3800}, {`CMD ["/bin/sh"]`, 0}}
)

// image is one image to be pushed.
type image struct {
	steps       []step
	description string
	source      string
	version     string
	command     []string
	user        string
}

// content pushes images to a registry, or puts them into an upstream. unit is what 1000 of a step's
// size are, in bytes.
type content struct {
	t      *testing.T
	to     *client.Client
	unit   int
	at     time.Time
	noise  *rand.ChaCha8
	layers map[string][]byte
	// upstream takes the images instead of the registry. nil: none.
	upstream *upstreamtest.Upstream
}

func newContent(t *testing.T, to *client.Client, unit int) *content {
	return &content{t: t, to: to, unit: unit, at: time.Now().UTC().Add(-40 * 24 * time.Hour), noise: rand.NewChaCha8([32]byte{7}), layers: map[string][]byte{}}
}

// layer is the content of a step, the same for the same line.
func (c *content) layer(s step, of string) []byte {
	if data, ok := c.layers[s.line+of]; ok {
		return data
	}
	data := make([]byte, max(64, s.size*c.unit/1000))
	c.noise.Read(data) // never fails
	c.layers[s.line+of] = data
	return data
}

func (c *content) blob(repo string, data []byte) ocispec.Descriptor {
	c.t.Helper()
	if c.upstream != nil {
		c.upstream.Blob(repo, data)
	} else if _, err := c.to.PushBlob(c.t.Context(), repo, data); err != nil {
		c.t.Fatal(err)
	}
	return ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func (c *content) manifest(repo, mediaType string, value any, tags ...string) ocispec.Descriptor {
	c.t.Helper()
	data := c.json(value)
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if c.upstream != nil {
		c.upstream.Manifest(repo, mediaType, data, tags...)
		return d
	}
	for _, ref := range append([]string{string(d.Digest)}, tags...) {
		if err := c.to.PutManifest(c.t.Context(), repo, ref, mediaType, data); err != nil {
			c.t.Fatal(err)
		}
	}
	return d
}

func (c *content) json(value any) []byte {
	c.t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}

// image pushes an image for an architecture. The last step is its own; the others are shared.
func (c *content) image(repo, architecture string, i image, tags ...string) ocispec.Descriptor {
	c.t.Helper()
	c.at = c.at.Add(37 * time.Hour)
	var history []map[string]any
	var layers []ocispec.Descriptor
	var diffs []digest.Digest
	for n, s := range i.steps {
		line := map[string]any{"created": c.at.Add(-time.Hour).Format(time.RFC3339), "created_by": s.line}
		if s.size == 0 {
			line["empty_layer"] = true
		} else {
			own := architecture
			if n == len(i.steps)-1 || strings.HasPrefix(s.line, "COPY") {
				own += repo + i.version
			}
			layer := c.blob(repo, c.layer(s, own))
			layer.MediaType = ocispec.MediaTypeImageLayerGzip
			layers, diffs = append(layers, layer), append(diffs, layer.Digest)
		}
		history = append(history, line)
	}
	config := c.blob(repo, c.json(map[string]any{
		"architecture": architecture, "os": "linux", "created": c.at.Format(time.RFC3339), "history": history,
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
		"config": map[string]any{
			"User": i.user, "Cmd": i.command, "WorkingDir": "/app", "ExposedPorts": map[string]any{"3000/tcp": map[string]any{}},
			"Env":    []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TZ=Europe/Berlin"},
			"Labels": map[string]string{"org.opencontainers.image.vendor": "blumeops", "maintainer": "erich@example.org"},
		},
	}))
	config.MediaType = ocispec.MediaTypeImageConfig
	d := c.manifest(repo, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: layers, Annotations: i.annotations(c.at),
	}, tags...)
	d.Platform = &ocispec.Platform{OS: "linux", Architecture: architecture}
	return d
}

func (i image) annotations(at time.Time) map[string]string {
	all := map[string]string{
		ocispec.AnnotationCreated: at.Format(time.RFC3339), ocispec.AnnotationLicenses: "MIT",
		ocispec.AnnotationDescription: i.description, ocispec.AnnotationVersion: i.version,
	}
	if i.source != "" {
		all[ocispec.AnnotationSource], all[ocispec.AnnotationRevision] = i.source, "c11d0fbe77a2"
	}
	return all
}

// index pushes an image for two platforms.
func (c *content) index(repo string, i image, tags ...string) ocispec.Descriptor {
	c.t.Helper()
	return c.manifest(repo, ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{c.image(repo, "amd64", i), c.image(repo, "arm64", i)}, Annotations: i.annotations(c.at),
	}, tags...)
}

// pushed are images of blumeops/homepage: one for two platforms, the first of its images, what refers
// to it, and one without a tag.
type pushed struct {
	index, child, sbom, signature, untagged digest.Digest
}

// private fills private repositories: versions with aliases, a tag that has moved, signatures, a
// chart, and one repository that only administrators may read.
func (c *content) private() (p pushed) {
	c.t.Helper()
	const home = "blumeops/homepage"
	site := image{
		steps: append(node[:len(node):len(node)], step{"WORKDIR /app", 0}, step{"COPY node_modules ./node_modules # buildkit", 12300},
			step{"COPY .next ./.next # buildkit", 6100}, step{"USER node", 0}, step{"EXPOSE map[3000/tcp:{}]", 0}, step{`CMD ["node" "server.js"]`, 0}),
		description: "The start page of the homelab: services, bookmarks and a clock.",
		source:      "https://forge.example.org/blumeops/homepage", command: []string{"node", "server.js"}, user: "node",
	}
	for _, version := range []string{"1.8.2", "1.9.3", "1.9.4", "1.10.0-rc1", "1.10.0", "1.10.1", "1.10.2-dev"} {
		site.version = version
		tags := []string{"v" + version}
		if strings.Contains(version, "dev") {
			p.untagged = c.image(home, "amd64", site).Digest
			continue
		}
		if !strings.Contains(version, "rc") {
			tags = append(tags, "latest")
		}
		c.image(home, "amd64", site, tags...)
	}
	site.version = "1.10.2"
	list := c.index(home, site, "v1.10.2", "v1.10", "v1", "latest")
	p.signature = c.artifact(home, bundleType, bundleType, c.signature(), &list).Digest
	p.sbom = c.artifact(home, spdxType, spdxType, c.spdx(), &list).Digest
	for _, one := range []struct {
		repo     string
		versions []string
		image
	}{
		{"blumeops/forgejo-runner", []string{"12.0.1", "12.1.0", "12.1.2"}, image{
			steps:       append(debian[:1:1], step{"RUN /bin/sh -c apt-get update && apt-get install -y git skopeo buildah # buildkit", 61000}, step{"COPY forgejo-runner /usr/bin/ # buildkit", 18200}),
			description: "The runner of the forge, with what its jobs need.", source: "https://forge.example.org/blumeops/forgejo-runner"}},
		{"blumeops/quartz", []string{"2026.10.1", "2026.11.4"}, image{
			steps: append(alpine[:2:2], step{"COPY public /srv # buildkit", 8400}), description: "Notes, as a web site."}},
		{"blumeops/backup", []string{"0.3.0", "0.4.0"}, image{
			steps: append(alpine[:2:2], step{"RUN /bin/sh -c apk add --no-cache borgbackup rclone # buildkit", 24700}, step{"COPY backup.sh /usr/bin/ # buildkit", 3})}},
		{"tools/nettest", []string{"1"}, image{
			steps: append(alpine[:2:2], step{"RUN /bin/sh -c apk add --no-cache bind-tools curl iperf3 mtr # buildkit", 5900}), description: "dig, curl, iperf3 and mtr."}},
		{"secrets/vault", []string{"3"}, image{steps: append(alpine[:2:2], step{"COPY vault /usr/bin/ # buildkit", 9000})}},
	} {
		for _, version := range one.versions {
			one.image.version = version
			c.image(one.repo, "amd64", one.image, "v"+version)
		}
	}
	c.artifact("charts/homepage", chartConfigType, chartType, c.chart(), nil, "0.7.1")
	c.wasm("tools/hello", "0.1.0")
	var found ocispec.Index
	data, _, err := c.to.Manifest(c.t.Context(), home, "v1.10.2")
	if err == nil {
		err = json.Unmarshal(data, &found)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	p.index, p.child = list.Digest, found.Manifests[0].Digest
	return p
}

// mirrored puts images into upstreams, and pulls them through the mirrors.
func (c *content) mirrored(hub, ghcr *upstreamtest.Upstream) {
	c.t.Helper()
	for _, one := range []struct {
		at           *upstreamtest.Upstream
		mirror, repo string
		image
		tags []string
	}{
		{hub, "docker.io", "library/postgres", image{steps: append(debian[:1:1], step{"RUN /bin/sh -c apt-get install -y postgresql-18 # buildkit", 97000}), description: "The PostgreSQL object-relational database system."}, []string{"18", "18.1", "latest"}},
		{hub, "docker.io", "library/redis", image{steps: append(alpine[:2:2], step{"RUN /bin/sh -c make && make install # buildkit", 11000})}, []string{"8", "8-alpine"}},
		{hub, "docker.io", "grafana/grafana", image{steps: append(alpine[:2:2], step{"COPY public ./public # buildkit", 118000})}, []string{"12.3.0"}},
		{ghcr, "ghcr.io", "home-assistant/home-assistant", image{steps: append(alpine[:2:2], step{"RUN /bin/sh -c pip install homeassistant # buildkit", 160000})}, []string{"2026.11", "stable"}},
	} {
		c.upstream = one.at
		c.image(one.repo, "amd64", one.image, one.tags...)
		c.upstream = nil
		for _, tag := range one.tags {
			if _, err := c.to.PullImage(c.t.Context(), one.mirror+"/"+one.repo, tag); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	for range 3 {
		for _, name := range []string{"blumeops/homepage:v1.10.1", "blumeops/homepage:v1.9.4", "blumeops/quartz:v2026.11.4", "docker.io/library/postgres:18"} {
			repo, tag, _ := strings.Cut(name, ":")
			if _, err := c.to.PullImage(c.t.Context(), repo, tag); err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

// trouble has a mirror wait for a download that does not go on, and another one be limited.
func (c *content) trouble(hub, ghcr *upstreamtest.Upstream) {
	c.t.Helper()
	c.upstream = hub
	layer := c.layer(step{"COPY nginx", 42000}, "")
	d := c.blob("library/nginx", layer).Digest
	c.image("library/nginx", "amd64", image{steps: alpine}, "1.29")
	c.upstream = nil
	hub.Fault(upstreamtest.Fault{Path: string(d), Stall: true, After: int64(len(layer) / 5)})
	ctx, stop := context.WithCancel(c.t.Context())
	ended := make(chan struct{})
	c.t.Cleanup(func() { stop(); <-ended })
	go func() {
		defer close(ended)
		c.to.Blob(ctx, "docker.io/library/nginx", d) // until the test ends
	}()
	ghcr.Fault(upstreamtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"3000"}}})
	if _, _, err := c.to.Manifest(ctx, "ghcr.io/home-assistant/home-assistant", "beta"); err == nil {
		c.t.Fatal("the upstream answers, although it limits requests")
	}
}
