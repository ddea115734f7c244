// Package upstreamtest is a controllable upstream registry: it plays Docker Hub,
// GHCR, Quay or a private registry, it fails in every way that upstreams do, and
// it records all requests exactly.
//
//	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
//	d := hub.Manifest("library/nginx", mediaType, data, "latest")
//	fault := hub.Fault(upstreamtest.Fault{Path: "/manifests/", Hang: true})
//	…
//	fault.Lift()
//	got := hub.Requests() // "registry HEAD /v2/library/nginx/manifests/latest bearer"
package upstreamtest

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// Kind is the kind of registry that an upstream plays.
type Kind int

const (
	// Open has no authentication, and its blobs on its own host.
	Open Kind = iota
	// Basic asks for user and secret on every request.
	Basic
	// Hub has a token endpoint on a host of its own that gives everybody a token,
	// counts pulls, and redirects blobs to a storage that rejects Authorization.
	Hub
	// GHCR has its token endpoint on its own host, which refuses a token for what
	// is private or missing, and redirects blobs as Hub does.
	GHCR
	// Quay has its token endpoint on its own host and answers 429 after
	// Config.Requests.
	Quay
)

// Config configures an Upstream. The zero value is an open registry on loopback.
type Config struct {
	Kind Kind
	// User and Secret are the one account. Default "user" and "secret".
	User, Secret string
	// TokenLife is how long a token is valid. Default 300s.
	TokenLife time.Duration
	// Pulls is Hub's limit on manifest GETs. Default 100.
	Pulls int
	// Requests is Quay's limit. Default 1000.
	Requests int
	// Network serves in memory, as Name, token.Name and storage.Name on port 80 and
	// with public addresses. Default: loopback.
	Network *Network
	// Name is the host's in Network. Default "registry.test".
	Name string
}

// Upstream is a running fake. It ends with the test.
type Upstream struct {
	// URL is the registry's base URL.
	URL string
	// Registry, Token and Storage are host:port. Token and Storage are where realms
	// and redirects lead, and on loopback must be in upstream.Config.AllowPrivate.
	Registry, Token, Storage string

	config Config

	mu        sync.Mutex // guards what follows
	blobs     map[string][]byte
	manifests map[string]manifest // by repo@digest
	tags      map[string]digest.Digest
	private   map[string]bool
	tokens    map[string]grant
	pulls     int
	asked     int
	faults    []*Active
	requests  []Request
}

type manifest struct {
	mediaType string
	data      []byte
}

// New starts an upstream.
func New(tb testing.TB, o Config) *Upstream {
	tb.Helper()
	if o.User == "" {
		o.User, o.Secret = "user", "secret"
	}
	setDefault(&o.TokenLife, 300*time.Second)
	setDefault(&o.Pulls, 100)
	setDefault(&o.Requests, 1000)
	if o.Name == "" {
		o.Name = "registry.test"
	}
	u := &Upstream{
		config:    o,
		blobs:     make(map[string][]byte),
		manifests: make(map[string]manifest),
		tags:      make(map[string]digest.Digest),
		private:   make(map[string]bool),
		tokens:    make(map[string]grant),
	}
	u.Registry = u.serve(tb, "registry", o.Name, "203.0.113.1")
	u.Token = u.Registry
	if o.Kind == Hub {
		u.Token = u.serve(tb, "token", "token."+o.Name, "203.0.113.2")
	}
	u.Storage = u.serve(tb, "storage", "storage."+o.Name, "203.0.113.3")
	u.URL = "http://" + u.Registry
	return u
}

func setDefault[T ~int | ~int64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (u *Upstream) serve(tb testing.TB, role, host, addr string) string {
	tb.Helper()
	var l net.Listener
	if n := u.config.Network; n != nil {
		l = n.Listen(host+":80", netip.MustParseAddr(addr))
	} else {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			tb.Fatal(err)
		}
	}
	server := &http.Server{Handler: u.handler(role)}
	var done sync.WaitGroup
	done.Go(func() { _ = server.Serve(l) }) // always ErrServerClosed
	tb.Cleanup(func() {
		u.liftAll()
		_ = server.Close()
		done.Wait()
	})
	return l.Addr().String()
}

func (u *Upstream) liftAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, f := range u.faults {
		f.Lift()
	}
}

// AllowPrivate returns the addresses that a client of an upstream on loopback
// must allow.
func (u *Upstream) AllowPrivate() []string { return []string{u.Token, u.Storage} }

// Blob stores a blob in repo.
func (u *Upstream) Blob(repo string, data []byte) digest.Digest {
	d := digest.FromBytes(data)
	u.BlobAs(repo, d, data)
	return d
}

// BlobAs stores a blob under any digest, also a wrong one.
func (u *Upstream) BlobAs(repo string, d digest.Digest, data []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.blobs[repo+"@"+string(d)] = data
}

// Manifest stores a manifest in repo and sets tags to it.
func (u *Upstream) Manifest(repo, mediaType string, data []byte, tags ...string) digest.Digest {
	d := digest.FromBytes(data)
	u.ManifestAs(repo, d, mediaType, data, tags...)
	return d
}

// ManifestAs stores a manifest under any digest: one of another algorithm, or a
// wrong one.
func (u *Upstream) ManifestAs(repo string, d digest.Digest, mediaType string, data []byte, tags ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.manifests[repo+"@"+string(d)] = manifest{mediaType, data}
	for _, tag := range tags {
		u.tags[repo+":"+tag] = d
	}
}

// Untag removes a tag.
func (u *Upstream) Untag(repo, tag string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.tags, repo+":"+tag)
}

// Private hides a repository from all but the account.
func (u *Upstream) Private(repo string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.private[repo] = true
}

// Revoke makes every token invalid that was given until now.
func (u *Upstream) Revoke() {
	u.mu.Lock()
	defer u.mu.Unlock()
	clear(u.tokens)
}

// Fault adds a fault.
func (u *Upstream) Fault(f Fault) *Active {
	u.mu.Lock()
	defer u.mu.Unlock()
	a := &Active{Fault: f, lifted: make(chan struct{})}
	u.faults = append(u.faults, a)
	return a
}

// Request is one that was asked, in the order of arrival.
type Request struct {
	// Host is "registry", "token" or "storage".
	Host string
	// Method and Path, the path with its query but without a signature.
	Method, Path string
	// Auth is "", "basic" or "bearer".
	Auth   string
	Header http.Header
}

// String is what tests compare: "registry GET /v2/x/manifests/latest bearer".
func (r Request) String() string {
	s := r.Host + " " + r.Method + " " + r.Path
	if r.Auth != "" {
		s += " " + r.Auth
	}
	if v := r.Header.Get("Range"); v != "" {
		s += " " + v
	}
	return s
}

// Recorded returns the requests since the last Forget.
func (u *Upstream) Recorded() []Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.requests)
}

// Requests returns what was recorded as lines.
func (u *Upstream) Requests() []string {
	lines := []string{}
	for _, r := range u.Recorded() {
		lines = append(lines, r.String())
	}
	return lines
}

// Forget empties the record.
func (u *Upstream) Forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests = nil
}
