package upstreamtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// signature is what the storage wants to see in a URL.
const signature = "signature=secret"

var resource = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs|tags|referrers)/([^/]+)$`)

// grant is what a token stands for.
type grant struct {
	known bool // it was given to the account
	repo  string
	until time.Time
}

func (u *Upstream) handler(role string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		where := role
		if role == "registry" && r.URL.Path == "/token" {
			where = "token"
		}
		fault := u.record(where, r)
		if fault != nil && fault.answer(w, r) {
			return
		}
		switch where {
		case "token":
			u.token(w, r, fault)
		case "storage":
			u.storage(w, r, fault)
		default:
			u.registry(w, r, fault)
		}
	})
}

// record notes the request and returns the fault that hits it, or nil.
func (u *Upstream) record(where string, r *http.Request) *Active {
	path := r.URL.Path
	if q := r.URL.RawQuery; q != "" && q != signature && where != "token" {
		path += "?" + q
	}
	auth, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests = append(u.requests, Request{where, r.Method, path, strings.ToLower(auth), r.Header.Clone()})
	for _, f := range u.faults {
		if f.matches(where, r) {
			f.hits++
			return f
		}
	}
	return nil
}

// token is the token endpoint.
func (u *Upstream) token(w http.ResponseWriter, r *http.Request, fault *Active) {
	user, secret, given := r.BasicAuth()
	known := user == u.config.User && secret == u.config.Secret
	if given && !known {
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password")
		return
	}
	repo := strings.TrimSuffix(strings.TrimPrefix(r.URL.Query().Get("scope"), "repository:"), ":pull")
	value, ok := u.grant(repo, known)
	if !ok {
		refuse(w, http.StatusForbidden, "DENIED", "requested access to the resource is denied")
		return
	}
	body, _ := json.Marshal(map[string]any{"token": value, "expires_in": int(u.config.TokenLife / time.Second)})
	fault.send(w, r, http.StatusOK, body)
}

func (u *Upstream) grant(repo string, known bool) (value string, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.config.Kind == GHCR && (u.private[repo] && !known || !u.exists(repo)) {
		return "", false
	}
	value = fmt.Sprintf("token-%d", len(u.requests))
	u.tokens[value] = grant{known, repo, time.Now().Add(u.config.TokenLife)}
	return value, true
}

// exists is called with mu held.
func (u *Upstream) exists(repo string) bool {
	for key := range u.manifests {
		if strings.HasPrefix(key, repo+"@") {
			return true
		}
	}
	for key := range u.blobs {
		if strings.HasPrefix(key, repo+"@") {
			return true
		}
	}
	return false
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}

// registry is everything under /v2/.
func (u *Upstream) registry(w http.ResponseWriter, r *http.Request, fault *Active) {
	u.mu.Lock()
	unlocked := false
	unlock := func() {
		if !unlocked {
			unlocked = true
			u.mu.Unlock()
		}
	}
	defer unlock()
	if u.asked++; u.config.Kind == Quay && u.asked > u.config.Requests {
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	m := resource.FindStringSubmatch(r.URL.Path)
	if m == nil {
		m = []string{"", "", "", ""}
	}
	repo, kind, ref := m[1], m[2], m[3]
	if r.URL.Path == "/v2/" && u.config.Kind == Open {
		return // 200: there is nothing to ask for
	}
	if !u.allowed(w, r, repo) {
		return
	}
	switch kind {
	case "manifests":
		d, ok := u.tags[repo+":"+ref]
		if !ok {
			d = digest.Digest(ref)
		}
		found, ok := u.manifests[repo+"@"+string(d)]
		if !ok {
			refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
			return
		}
		if u.config.Kind == Hub && !u.pull(w, r) {
			return
		}
		w.Header().Set("Content-Type", found.mediaType)
		w.Header().Set("Docker-Content-Digest", string(d))
		unlock() // a fault may wait
		fault.send(w, r, http.StatusOK, found.data)
	case "blobs":
		data, ok := u.blobs[repo+"@"+ref]
		switch {
		case !ok:
			refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown")
		case u.config.Kind == Hub || u.config.Kind == GHCR:
			w.Header().Set("Location", "http://"+u.Storage+"/"+repo+"@"+ref+"?"+signature)
			w.WriteHeader(http.StatusTemporaryRedirect)
		default:
			unlock()
			content(w, r, fault, data)
		}
	case "tags":
		names := []string{}
		for key := range u.tags {
			if tag, ok := strings.CutPrefix(key, repo+":"); ok {
				names = append(names, tag)
			}
		}
		slices.Sort(names)
		unlock()
		body, _ := json.Marshal(map[string]any{"name": repo, "tags": names})
		w.Header().Set("Content-Type", "application/json")
		fault.send(w, r, http.StatusOK, body)
	default:
		// Also of referrers: the tests that want the API answer through a Fault.
		refuse(w, http.StatusNotFound, "NOT_FOUND", "page not found")
	}
}

// allowed checks the caller, and challenges. It is called with mu held.
func (u *Upstream) allowed(w http.ResponseWriter, r *http.Request, repo string) bool {
	known := false
	switch u.config.Kind {
	case Open:
		return true
	case Basic:
		user, secret, _ := r.BasicAuth()
		if user == u.config.User && secret == u.config.Secret {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
		return false
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	g, ok := u.tokens[token]
	ok = ok && g.repo == repo && time.Now().Before(g.until)
	known = ok && g.known
	if ok && (!u.private[repo] || known) {
		return true
	}
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="fake",scope="repository:%s:pull"`, u.Token, repo))
	refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	return false
}

// pull counts a manifest GET against the limit. It is called with mu held.
func (u *Upstream) pull(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet {
		u.pulls++
	}
	left := max(u.config.Pulls-u.pulls, 0)
	w.Header().Set("RateLimit-Limit", fmt.Sprintf("%d;w=21600", u.config.Pulls))
	w.Header().Set("RateLimit-Remaining", fmt.Sprintf("%d;w=21600", left))
	w.Header().Set("Docker-RateLimit-Source", "203.0.113.9")
	if r.Method == http.MethodGet && u.pulls > u.config.Pulls {
		refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "You have reached your pull rate limit.")
		return false
	}
	return true
}

// storage is what Hub and GHCR redirect blobs to.
func (u *Upstream) storage(w http.ResponseWriter, r *http.Request, fault *Active) {
	if r.Header.Get("Authorization") != "" {
		refuse(w, http.StatusBadRequest, "INVALID", "only one auth mechanism allowed")
		return
	}
	u.mu.Lock()
	data, ok := u.blobs[strings.TrimPrefix(r.URL.Path, "/")]
	u.mu.Unlock()
	if !ok || r.URL.RawQuery != signature {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	content(w, r, fault, data)
}

// content sends a blob, or its end from the offset of a Range.
func content(w http.ResponseWriter, r *http.Request, fault *Active, data []byte) {
	var first, last int
	last = len(data) - 1
	n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last)
	switch {
	case n == 0 || fault != nil && fault.NoRange:
		fault.send(w, r, http.StatusOK, data)
	case first >= len(data):
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(data)))
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
	default:
		last = min(last, len(data)-1)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(data)))
		fault.send(w, r, http.StatusPartialContent, data[first:last+1])
	}
}
