package caddymodule_test

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin/oidctest"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// matrix is a registry in which every kind of caller meets every kind of repository by
// every endpoint, on every kind of site.
type matrix struct {
	*testing.T
	client *http.Client
	secure *http.Client   // with a certificate
	ports  map[string]int // by site
	// secrets are what the callers present, and tokens those that are for one host.
	secrets   map[string]string
	tokens    map[string]string // by caller and site
	hub, quay *upstreamtest.Upstream
	blobs     map[string]digest.Digest // of team/app and secret/app
	manifests map[string]digest.Digest
	deleted   map[string]bool // held repositories of mirrors, which a cell may have emptied
	serial    int
}

// TestMatrix asks everything, and compares the answers with matrixAnswers.
// A cell that is wrong names its endpoint, caller, repository and site.
func TestMatrix(t *testing.T) {
	m := newMatrix(t)
	wrong := 0
	for i, s := range matrixSites {
		for _, e := range matrixEndpoints {
			repos := matrixRepos
			if !e.named() {
				repos = []matrixRepo{{}}
			}
			for _, r := range repos {
				if r.fallback && !s.fallback || r.unclaimed && s.fallback || r.once && i > 0 {
					continue // another kind of site makes of it another kind of name
				}
				for _, c := range matrixCallers {
					if s.tls != c.certificate {
						continue // the others are told the same with TLS and without
					}
					if problem := m.cell(e, c, r, s); problem != "" {
						t.Errorf("%s %s by %s in %s on a %s site: %s", e.method, e.name, c.name, r.name,
							s.name, problem)
						if wrong++; wrong > 100 {
							t.Fatal("and perhaps more")
						}
					}
				}
			}
		}
	}
	m.tokenEndpoint()
	if m.serial < 10_000 {
		t.Errorf("only %d cells were looked at", m.serial)
	}
}

func newMatrix(t *testing.T) *matrix {
	m := &matrix{
		T: t, client: &http.Client{Transport: &http.Transport{},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		ports: map[string]int{}, tokens: map[string]string{}, blobs: map[string]digest.Digest{},
		manifests: map[string]digest.Digest{}, deleted: map[string]bool{},
		hub:  upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub, Pulls: 1e6}),
		quay: upstreamtest.New(t, upstreamtest.Config{}),
	}
	t.Cleanup(m.client.CloseIdleConnections)
	t.Setenv("TEST_HUB_SECRET", "secret")
	forge := oidctest.New(t, forgeAudience)
	m.secrets = map[string]string{
		"job's token":                   forge.Sign(forgeJob(forge, nil)),
		"token of another branch's job": forge.Sign(forgeJob(forge, map[string]any{"ref": "refs/heads/other"})),
		"local user's password":         registrytest.Password,
	}
	m.secrets["job's token as password"] = m.secrets["job's token"]
	oci := matrixPolicy + "\nlocal_user ada " + registrytest.PasswordHash() + " admins\n" +
		"local_user wanda " + registrytest.PasswordHash() + " artifact-workloads\nlocal_user olga " + registrytest.PasswordHash() + " others\n" +
		strings.ReplaceAll(trustForge, "ISSUER", forge.Issuer) +
		"\nclient_cert {\nuser cn\ngroups artifact-workloads\n}\nurl https://registry.example.org\nlimits {\n" +
		"uploads 10000\n}\nprivate team/** secret/**\n" + registrytest.Mirror("quay.io", m.quay) +
		registrytest.Mirror("docker.io", m.hub, "credentials user {env.TEST_HUB_SECRET}",
			"private hidden/** to group admins")
	text := ""
	for _, s := range matrixSites {
		m.ports[s.name] = registrytest.FreePort(t)
		if s.tls {
			text += m.withTLS(m.ports[s.name])
			continue
		}
		one := registrytest.CaddyfileWith(m.ports[s.name], "STORAGE", oci, s.options)
		if text != "" {
			one = one[strings.Index(one, "\nhttp://"):] // the same global options
		}
		text += one
	}
	text = strings.Replace(text, "admin off", "admin off\n\tskip_install_trust\n\tauto_https disable_redirects", 1)
	registrytest.Load(t, strings.ReplaceAll(text, "STORAGE", t.TempDir()))
	m.enter()
	for _, repo := range []string{"team/app", "secret/app"} {
		m.blobs[repo] = m.push(repo, "blob of "+repo)
		m.manifests[repo] = m.put(repo, "v1", "image of "+repo)
	}
	for _, repo := range []string{"docker.io/public/held", "docker.io/hidden/held", "quay.io/team/held"} {
		m.hold(repo)
	}
	return m
}

// enter makes the credentials of the callers.
func (m *matrix) enter() {
	m.Helper()
	store := registrytest.Callers(m.T).Identity
	key := func(want identity.NewKey) (string, identity.Key) {
		secret, made, err := store.Keys().Create(m.Context(), want)
		if err != nil {
			m.Fatal(err)
		}
		return secret, made
	}
	for _, user := range []string{"eve", "mallory"} {
		if _, err := store.Users().SignedIn(m.Context(),
			identity.User{Name: user, Issuer: "https://provider.example", Subject: user}); err != nil {
			m.Fatal(err)
		}
	}
	service := identity.NewKey{User: "zot-ci", Service: true, Groups: []string{"artifact-workloads"}}
	admins := identity.NewKey{User: "erich", Service: true, Groups: []string{"admins"}}
	narrow := admins
	narrow.Actions, narrow.Globs = []string{"read", "create"}, []string{"team/app"}
	brief := service
	brief.Lifetime = time.Nanosecond
	for _, caller := range []string{"wrong password", "wrong Bearer", "certificate, and a wrong password"} {
		m.secrets[caller] = "wrong"
	}
	var toRevoke [2]identity.Key
	for name, want := range map[string]identity.NewKey{
		"signed in without groups": {User: "eve"}, "workload": service, "admin": admins, "narrowed key": narrow,
		"expired key": brief, "key of a disabled user": {User: "mallory"},
	} {
		m.secrets[name], _ = key(want)
	}
	m.secrets["revoked key"], toRevoke[0] = key(service)
	m.secrets["registry token of a revoked key"], toRevoke[1] = key(service)
	m.secrets["workload, key as Bearer"] = m.secrets["workload"]
	for _, s := range matrixSites {
		for caller, secret := range map[string]string{
			"anonymous token": "", "workload, registry token": m.secrets["workload"],
			"workload, registry token as password": m.secrets["workload"],
			"registry token of a revoked key":      m.secrets["registry token of a revoked key"],
			"local user's registry token":          registrytest.Password,
		} {
			// From the site that takes credentials: what it says of the host is this site's.
			fields := []string{"Host", m.host(s)}
			if secret != "" {
				fields = append(fields,
					"Authorization", registrytest.Basic("ada", secret)) // keys and tokens have any name
			}
			_, body := registrytest.At(m.T, m.ports["loopback"]).Want(http.StatusOK, "GET", "/token", nil, fields...)
			m.tokens[caller+" "+s.name] = registrytest.Token(m.T, body)
		}
	}
	for _, revoked := range toRevoke {
		if _, err := store.Keys().Revoke(m.Context(), revoked.ID); err != nil {
			m.Fatal(err)
		}
	}
	if _, err := store.Users().SetDisabled(m.Context(), "mallory", true); err != nil {
		m.Fatal(err)
	}
}

func (m *matrix) host(s matrixSite) string {
	if s.tls {
		return fmt.Sprintf("localhost:%d", m.ports[s.name]) // a name, or TLS could not say which site is meant
	}
	return fmt.Sprintf("127.0.0.1:%d", m.ports[s.name])
}

// withTLS is a site that asks for certificates, and makes the client that has one.
func (m *matrix) withTLS(port int) string {
	a := newAuthority(m.T)
	cert, key := a.files(
		a.sign(&x509.Certificate{DNSNames: []string{"localhost"},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}))
	ca, _ := a.files(tls.Certificate{Certificate: [][]byte{a.cert.Raw}, PrivateKey: a.key})
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	m.secure = &http.Client{CheckRedirect: m.client.CheckRedirect, Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs:      pool,
		Certificates: []tls.Certificate{*a.client(x509.Certificate{Subject: pkix.Name{CommonName: "robot"}})},
	}}}
	m.Cleanup(m.secure.CloseIdleConnections)
	return fmt.Sprintf("https://localhost:%d {\nbind 127.0.0.1\ntls %s %s {\nclient_auth {\nmode verify_if_given\n"+
		"trust_pool file %s\n}\n}\noci_registry\n}\n", port, cert, key, ca)
}

// base is where a site is.
func (m *matrix) base(s matrixSite) string {
	if s.tls {
		return "https://" + m.host(s)
	}
	return "http://" + m.host(s)
}

// secret is what a caller presents on a site.
func (m *matrix) secret(c matrixCaller, s matrixSite) string {
	if token, ok := m.tokens[c.name+" "+s.name]; ok {
		return token
	}
	return m.secrets[c.name]
}

// fields are what a request of a caller on a site has.
func (m *matrix) fields(c matrixCaller, s matrixSite) http.Header {
	header := http.Header{}
	switch {
	case c.silent:
	case c.bearer:
		header.Set("Authorization", "Bearer "+m.secret(c, s))
	case c.certificate && m.secret(c, s) == "":
	case !c.presents:
		header.Set("Authorization", registrytest.Basic("", ""))
	default:
		header.Set("Authorization", registrytest.Basic(cmp.Or(c.user, "anybody"), m.secret(c, s)))
	}
	if s.remote {
		header.Set("X-Forwarded-For", "203.0.113.9")
	}
	return header
}

// ask makes one request.
func (m *matrix) ask(s matrixSite, method, path string, header http.Header, body string) (*http.Response, []byte) {
	m.Helper()
	request, err := http.NewRequestWithContext(m.Context(), method, m.base(s)+path, strings.NewReader(body))
	if err != nil {
		m.Fatal(err)
	}
	request.Header = header
	client := m.client
	if s.tls {
		client = m.secure
	}
	response, err := client.Do(request)
	if err != nil {
		m.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		m.Fatal(err)
	}
	return response, data
}

// asAdmin makes a request that prepares a cell.
func (m *matrix) asAdmin(want int, method, path, mediaType, body string) *http.Response {
	m.Helper()
	header := http.Header{"Authorization": {registrytest.Basic("erich", m.secrets["admin"])},
		"Content-Type": {mediaType}}
	response, data := m.ask(matrixSites[0], method, path, header, body)
	if response.StatusCode != want {
		m.Fatalf("%s %s: got %d %s, want %d", method, path, response.StatusCode, data, want)
	}
	return response
}

func (m *matrix) push(repo, content string) digest.Digest {
	d := digest.FromString(content)
	m.asAdmin(http.StatusCreated, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+d.String(),
		"application/octet-stream", content)
	return d
}

// indexOf is a manifest that needs nothing.
func indexOf(what string) string {
	data, err := json.Marshal(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{},
		Annotations: map[string]string{"what": what}})
	if err != nil {
		panic(err) // strings only
	}
	return strings.Replace(string(data), `"schemaVersion":0`, `"schemaVersion":2`, 1)
}

func (m *matrix) put(repo, tag, what string) digest.Digest {
	m.asAdmin(http.StatusCreated, "PUT", "/v2/"+repo+"/manifests/"+tag, ocispec.MediaTypeImageIndex, indexOf(what))
	return digest.FromString(indexOf(what))
}

// upstreamOf is who has a mirror's repository, and by which name.
func (m *matrix) upstreamOf(repo string) (*upstreamtest.Upstream, string) {
	host, name, _ := strings.Cut(repo, "/")
	return map[string]*upstreamtest.Upstream{"docker.io": m.hub, "quay.io": m.quay}[host], name
}

// stock lets the upstream have an image, hidden or not.
func (m *matrix) stock(repo string, hidden bool) {
	u, name := m.upstreamOf(repo)
	m.manifests[repo], m.blobs[repo] = registrytest.PutImage(m.T, u, name, "v1", []byte("layer of "+repo))
	if hidden {
		u.Private(name)
	}
}

// hold lets the mirror fetch an image.
func (m *matrix) hold(repo string) {
	if m.manifests[repo] == "" {
		m.stock(repo, strings.HasPrefix(repo, "docker.io/hidden/"))
	}
	m.asAdmin(http.StatusOK, "GET", "/v2/"+repo+"/manifests/v1", "", "")
	m.asAdmin(http.StatusOK, "GET", "/v2/"+repo+"/blobs/"+m.blobs[repo].String(), "", "")
	m.asAdmin(http.StatusOK, "GET", "/v2/"+repo+"/tags/list", "", "")
	m.asAdmin(http.StatusOK, "GET", "/v2/"+repo+"/referrers/"+m.manifests[repo].String(), "", "")
	if !strings.HasPrefix(repo, "docker.io/hidden/") {
		// So that the mirror has asked whether everybody may see it.
		header := http.Header{"Authorization": {registrytest.Basic("ci", m.secrets["workload"])}}
		if response, body := m.ask(matrixSites[0], "GET", "/v2/"+repo+"/manifests/v1", header,
			""); response.StatusCode != http.StatusOK {
			m.Fatalf("%s: got %d %s", repo, response.StatusCode, body)
		}
	}
}

// prepare puts what a cell needs in its place, and returns the path and the body of
// the request.
//
// Who has to log in first is told so whatever is there, so then nothing is made: that
// an answer should have been another one would be seen nevertheless.
func (m *matrix) prepare(e matrixEndpoint, r matrixRepo, status int) (path, body string) {
	m.serial++
	n := fmt.Sprint(m.serial)
	repo := strings.ReplaceAll(r.repo(), "#", n)
	if r.mirror && r.upstream && m.manifests[repo] == "" {
		m.stock(repo, r.hidden)
	}
	nothing := digest.FromString("nothing " + n)
	words := map[string]string{
		"{blob}": nothing.String(), "{manifest}": nothing.String(), "{nothing}": nothing.String(),
		"{loose}": nothing.String(), "{gone}": nothing.String(),
		"{new}": digest.FromString("new " + n).String(), "{pushed}": digest.FromString(indexOf(n)).String(),
		"{tag}": "tag" + n, "{old}": "old" + n, "{upload}": "0123456789abcdef", "{missing}": "missing" + n,
		"{mount}": m.blobs["team/app"].String(),
	}
	if d, ok := m.blobs[repo]; ok {
		words["{blob}"], words["{manifest}"] = d.String(), m.manifests[repo].String()
	}
	if status == http.StatusUnauthorized {
		e.needs = ""
	} else if e.mounted != "" {
		words["{mount}"] = m.push(e.mounted, "mount "+n).String()
	}
	if r.mirror && r.held && m.deleted[repo] {
		m.hold(repo)
	}
	m.deleted[repo] = e.action == "delete"
	switch {
	case r.mirror && r.held && e.action == "delete":
		words["{old}"], words["{loose}"], words["{gone}"] = "v1", m.blobs[repo].String(), m.manifests[repo].String()
	case r.mirror || !r.held:
	case e.needs == "upload":
		response := m.asAdmin(http.StatusAccepted, "POST", "/v2/"+repo+"/blobs/uploads/", "", "")
		words["{upload}"] = response.Header.Get("Docker-Upload-Uuid")
	case e.needs == "old":
		words["{gone}"] = m.put(repo, "old"+n, "old "+n).String()
	case e.needs == "loose":
		words["{loose}"] = m.push(repo, "loose "+n).String()
	}
	path = "/v2/"
	if e.named() {
		path += strings.ReplaceAll(r.name, "#", n) + "/"
	}
	path += e.path
	for word, value := range words {
		path = strings.ReplaceAll(path, word, value)
	}
	return path, map[string]string{"{new}": "new " + n, "{index}": indexOf(n)}[e.body]
}

// cell asks for one answer, and says what is wrong with it.
func (m *matrix) cell(e matrixEndpoint, c matrixCaller, r matrixRepo, s matrixSite) (problem string) {
	m.Helper()
	want := matrixAnswers(e, c, r, s)
	path, body := m.prepare(e, r, want.status)
	header := m.fields(c, s)
	if strings.HasPrefix(e.path, "manifests/") {
		header.Set("Content-Type", ocispec.MediaTypeImageIndex)
	}
	want.scope = strings.ReplaceAll(want.scope, "#", fmt.Sprint(m.serial))
	response, data := m.ask(s, e.method, path, header, body)
	switch code := codeOf(data); {
	case response.StatusCode != want.status:
		return fmt.Sprintf("got status %d %s, want %d %s", response.StatusCode, data, want.status, want.codes)
	case e.method != "HEAD" && want.codes != "" && !slices.Contains(strings.Split(want.codes, "|"), code):
		return fmt.Sprintf("got code %q, want %s: %s", code, want.codes, data)
	}
	challenge := ""
	if want.status == http.StatusUnauthorized {
		challenge = fmt.Sprintf(`Bearer realm="%s/token",service="%s"`, m.base(s), m.host(s))
		if want.scope != "" {
			challenge += fmt.Sprintf(`,scope="%s"`, want.scope)
		}
		if want.badToken {
			challenge += `,error="invalid_token"`
		}
	}
	if got := response.Header.Get("WWW-Authenticate"); got != challenge {
		return fmt.Sprintf("got challenge %s, want %s", got, challenge)
	}
	if e.catalog && e.method == "GET" && want.status == http.StatusOK && !strings.Contains(e.path, "?") {
		return m.listed(c, data)
	}
	return ""
}

// codeOf is the code of an error's body.
func codeOf(data []byte) string {
	var answer struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(data, &answer) != nil || len(answer.Errors) != 1 {
		return ""
	}
	return answer.Errors[0].Code
}

// listed looks whether a catalog has what the caller may read, and nothing else.
func (m *matrix) listed(c matrixCaller, data []byte) (problem string) {
	for repo, may := range map[string]bool{
		"team/app": c.tier.may("read", "team/app"), "secret/app": c.tier.may("read", "secret/app"),
		"quay.io/team/held":     c.tier.may("read", "quay.io/team/held"),
		"docker.io/hidden/held": c.tier.may("reveal", "docker.io/hidden/held"),
	} {
		if got := bytes.Contains(data, []byte(`"`+repo+`"`)); got != may {
			return fmt.Sprintf("%s is listed: %v, want %v: %s", repo, got, may, data)
		}
	}
	return ""
}

// tokenEndpoint asks for tokens by every form of request: whoever is nobody gets an
// anonymous one, whoever is somebody their own, and the rest none.
func (m *matrix) tokenEndpoint() {
	m.Helper()
	form := func(values url.Values) string { return values.Encode() }
	for _, s := range matrixSites {
		for _, c := range matrixCallers {
			if s.tls != c.certificate {
				continue
			}
			status := http.StatusOK
			if c.presents && (!s.takes || !c.good && !c.tokenOnly) {
				status = http.StatusUnauthorized
			}
			secret := m.secret(c, s)
			forms := map[string]string{}
			if c.presents && secret != "" {
				forms["password"] = form(url.Values{"grant_type": {"password"}, "username": {cmp.Or(c.user, "anybody")},
					"password": {secret}})
				forms["refresh_token"] = form(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {secret}})
			}
			check := func(what, method, path, body string, header http.Header, status int) {
				m.serial++
				response, data := m.ask(s, method, path, header, body)
				if response.StatusCode != status {
					m.Errorf("%s of /token by %s on a %s site: got status %d %s, want %d", what, c.name, s.name,
						response.StatusCode, data, status)
				}
				challenge := ""
				if status == http.StatusUnauthorized {
					challenge = fmt.Sprintf(`Basic realm="%s"`, m.host(s))
				}
				if got := response.Header.Get("WWW-Authenticate"); got != challenge {
					m.Errorf("%s of /token by %s on a %s site: got challenge %s, want %s", what, c.name, s.name,
						got, challenge)
				}
				if response.StatusCode == http.StatusOK {
					registrytest.Token(m.T, data)
				}
			}
			check("GET", "GET", "/token?scope=repository:team/app:pull,push", "", m.fields(c, s), status)
			check("DELETE", "DELETE", "/token", "", m.fields(c, s), http.StatusMethodNotAllowed)
			for _, grant := range slices.Sorted(maps.Keys(forms)) {
				header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
				if s.remote {
					header.Set("X-Forwarded-For", "203.0.113.9")
				}
				status := status
				if c.tokenOnly && grant == "refresh_token" {
					status = http.StatusUnauthorized // a password is for a name
				}
				check(grant, "POST", "/token", forms[grant], header, status)
			}
			// Docker's credentials for its mirror count as anonymous, if everything
			// that it pulls is from the fallback.
			pull := status
			if s.fallback && c.strange {
				pull = http.StatusOK
			}
			check("GET for a pull by the fallback", "GET", "/token?scope=repository:library/nginx:pull", "",
				m.fields(c, s), pull)
		}
	}
}
