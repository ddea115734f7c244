package upstream

import (
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"testing"
	"time"
)

func TestPublic(t *testing.T) {
	for _, tt := range []struct {
		name, addr string
		want       bool
	}{
		{"a public address", "93.184.215.14", true},
		{"a public IPv6 address", "2606:2800::1", true},
		{"a public address through NAT64", "64:ff9b::5db8:d70e", true},
		{"loopback", "127.0.0.1", false},
		{"loopback in IPv6", "::1", false},
		{"loopback mapped into IPv6", "::ffff:127.0.0.1", false},
		{"loopback through NAT64", "64:ff9b::7f00:1", false},
		{"loopback through 6to4", "2002:7f00:1::", false},
		{"a private network", "10.1.2.3", false},
		{"a unique local address", "fd00:ec2::254", false},
		{"the metadata of a cloud", "169.254.169.254", false},
		{"link-local in IPv6 with a zone", "fe80::1%eth0", false},
		{"carrier-grade NAT", "100.100.100.200", false},
		{"no address", "0.0.0.0", false},
		{"this network", "0.1.2.3", false},
		{"multicast", "224.0.0.1", false},
		{"broadcast", "255.255.255.255", false},
		{"a network for benchmarks", "198.18.0.1", false},
		{"protocol assignments", "192.0.0.8", false},
		{"a reserved address", "240.0.0.1", false},
		{"a site-local address", "fec0::1", false},
		{"a network's own translation", "64:ff9b:1::1", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := public(netip.MustParseAddr(tt.addr)); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}

func TestStep(t *testing.T) {
	for _, tt := range []struct {
		name, from, to string
		want           bool
	}{
		{"to another host", "https://registry-1.docker.io", "https://cdn.example/x?signature=y", true},
		{"from http to https", "http://registry:5000", "https://cdn.example", true},
		{"not from https to http", "https://registry-1.docker.io", "http://cdn.example", false},
		{"not to a file", "https://registry-1.docker.io", "file:///etc/passwd", false},
		{"not to another protocol", "http://registry:5000", "ftp://cdn.example/x", false},
		{"not to no host", "https://registry-1.docker.io", "https:///x", false},
		{"not with credentials in the URL", "https://registry-1.docker.io", "https://user:secret@cdn.example", false},
		{"not with a name in the URL", "https://registry-1.docker.io", "https://user@cdn.example", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, _ := url.Parse(tt.from)
			to, _ := url.Parse(tt.to)
			if err := new(guard).step(from, to); (err == nil) != tt.want {
				t.Errorf("got %v, want it followed: %t", err, tt.want)
			}
		})
	}
}

func TestTrusts(t *testing.T) {
	for _, tt := range []struct {
		name, base, realm string
		want              bool
	}{
		{"the same host", "https://ghcr.io", "https://ghcr.io/token", true},
		{"the same host with its port written", "https://ghcr.io", "https://GHCR.io:443/token", true},
		{"the same domain", "https://registry-1.docker.io", "https://auth.docker.io/token", true},
		{"a host:port that is allowed", "http://192.0.2.1:5000", "http://127.0.0.1:5001/token", true},
		{"not another port of an address", "http://127.0.0.1:5000", "http://127.0.0.1:5002/token", false},
		{"not an address that ends alike", "http://10.1.0.1", "http://10.2.0.1/token", false},
		{"not another domain", "https://registry-1.docker.io", "https://auth.docker.io.evil.example/token", false},
		{"not another customer of a host", "https://a.github.io", "https://b.github.io/token", false},
		{"not another domain of one country", "https://a.co.uk", "https://b.co.uk/token", false},
		{"not another name without a domain", "http://registry:5000", "http://auth:5000/token", false},
		{"not http after https", "https://ghcr.io", "http://ghcr.io/token", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base, _ := url.Parse(tt.base)
			realm, _ := url.Parse(tt.realm)
			g, err := newGuard([]*url.URL{base}, []string{"127.0.0.1:5001"}, nil, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if got := g.trusts(base, realm); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}

func TestParseChallenges(t *testing.T) {
	hub := map[string]string{"realm": "https://auth.docker.io/token", "service": "registry.docker.io", "scope": "repository:a/b:pull,push"}
	for _, tt := range []struct {
		name, header string
		scheme       string
		want         map[string]string
		more         int
	}{
		{"of Docker Hub", `Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"`, "bearer", hub, 0},
		{"with spaces", `bearer  realm = "https://auth.docker.io/token" , service=registry.docker.io,  scope="repository:a/b:pull,push"`, "bearer", hub, 0},
		{"with a second realm", `Bearer realm="x", realm="y"`, "bearer", map[string]string{"realm": "x"}, 0},
		{"with a quoted quote", `Basic realm="a \"b\", c"`, "basic", map[string]string{"realm": `a "b", c`}, 0},
		{"of two", `Basic realm="a", Bearer realm="b"`, "basic", map[string]string{"realm": "a"}, 1},
		{"of a token68 before another", `Negotiate a87421000492aa==, Bearer realm="b"`, "negotiate", map[string]string{}, 1},
		{"that ends too early", `Bearer realm="x`, "bearer", map[string]string{}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := parseChallenges([]string{tt.header})
			if len(got) != 1+tt.more || got[0].scheme != tt.scheme || !maps.Equal(got[0].params, tt.want) {
				t.Errorf("got %q, want %s %q and %d more", got, tt.scheme, tt.want, tt.more)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		name, header string
		want         method
		ok           bool
	}{
		{"Bearer before Basic", `Basic realm="a", Bearer realm="b",service="c"`, method{realm: "b", service: "c"}, true},
		{"Basic alone", `Basic realm="a"`, method{}, true},
		{"a scope without a repository", `Bearer realm="b",scope="aws"`, method{realm: "b", scope: "aws"}, true},
		{"no scope of another repository", `Bearer realm="b",scope="repository:secret:pull"`, method{realm: "b"}, true},
		{"nothing without a realm", `Bearer service="c"`, method{}, false},
		{"nothing of what is unknown", `Negotiate`, method{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := choose(parseChallenges([]string{tt.header})); got != tt.want || ok != tt.ok {
				t.Errorf("got %+v, %t, want %+v, %t", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct {
		name, header string
		want         time.Duration
	}{
		{"seconds", "120", 2 * time.Minute},
		{"no time at all", "0", time.Second},
		{"a date", now.Add(time.Minute).UTC().Format(http.TimeFormat), time.Minute},
		{"a date that is over", now.Add(-time.Hour).UTC().Format(http.TimeFormat), time.Second},
		{"seconds since 1970", "1800000090", 90 * time.Second},
		{"more than six hours", "9223372036854775807", 6 * time.Hour},
		{"many seconds", "999999999", 6 * time.Hour},
		{"nothing", "", 30 * time.Second},
		{"a negative number", "-5", 30 * time.Second},
		{"nonsense", "soon", 30 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := retryAfter(tt.header, now, 30*time.Second).Sub(now); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestDockerConfig(t *testing.T) {
	const hub = `{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpzZWNyZXQ="},"ghcr.io":{"username":"u","password":"p"},"quay.io":{"identitytoken":"t"},"bad.example":{"auth":"%"}},"credsStore":"desktop"}`
	for _, tt := range []struct {
		name, registry string
		user, secret   string
		identity       string
		err            bool
	}{
		{"Docker Hub's own spelling", "docker.io", "user", "secret", "", false},
		{"a user name and a password", "ghcr.io", "u", "p", "", false},
		{"an identity token", "quay.io", "", "", "t", false},
		{"no base64", "bad.example", "", "", "", true},
		{"no entry, only a helper", "other.example", "", "", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := fromDockerConfig([]byte(hub), tt.registry)
			if (err != nil) != tt.err {
				t.Fatalf("got error %v, want one: %t", err, tt.err)
			}
			if err == nil && (got.Username != tt.user || got.Password != tt.secret || got.IdentityToken != tt.identity) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// The caches are bounded whatever clients request.
func TestMemoryIsBounded(t *testing.T) {
	b := breaker{wait: time.Hour}
	var tok tokens
	for i := range 3 * maxGates {
		repo := string(rune('a'+i%26)) + time.Duration(i).String()
		p := newPass(repo, true, true)
		if b.enter(p) == nil {
			b.leave(p, &Error{Condition: ErrUnavailable, Status: 500}, false)
		}
		tok.keep(repo, token{value: repo, until: time.Now().Add(time.Hour)})
	}
	if len(b.gates) > maxGates || len(tok.cache) > maxTokens {
		t.Errorf("got %d gates and %d tokens, want at most %d and %d", len(b.gates), len(tok.cache), maxGates, maxTokens)
	}
}

// FuzzHeaders checks what the client relies on, for any headers of an upstream.
func FuzzHeaders(f *testing.F) {
	for _, s := range []string{
		`Bearer realm="https://auth.docker.io/token",service="x",scope="repository:a:pull"`, `Basic realm="\"`, "Negotiate a==",
		"100;w=21600", "5, 5;w=1", "bytes 5-9/10", "bytes 5-9/*", "bytes */10", "120", "Wed, 21 Oct 2026 07:28:00 GMT",
		`</v2/a/tags/list?n=1&last=x>; rel="next", <b>; rel=last`, "<<>>;", `<a`, "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		all := parseChallenges([]string{s, s})
		if len(all) > maxChallenges {
			t.Errorf("got %d challenges, want at most %d", len(all), maxChallenges)
		}
		if m, ok := choose(all); m.realm != "" && !ok {
			t.Errorf("a realm %q without a method", m.realm)
		}
		if n, w, ok := parseLimit(s); n < 0 || w < 0 || !ok && n != 0 {
			t.Errorf("got a limit of %d in %s", n, w)
		}
		if first, size, ok := parseContentRange(s); ok && (first < 0 || size >= 0 && first >= size) {
			t.Errorf("got a range from %d of %d", first, size)
		}
		if n := completeLength(s); n < -1 {
			t.Errorf("got a length of %d", n)
		}
		now := time.Unix(1_800_000_000, 0)
		if d := retryAfter(s, now, time.Minute).Sub(now); d < time.Second || d > maxRetryAfter {
			t.Errorf("got a wait of %s", d)
		}
		nextLink([]string{s})
		if p := printable(s); len(p) > 120 {
			t.Errorf("got %d bytes for a log", len(p))
		}
	})
}
