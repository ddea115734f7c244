package mirror_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream"
)

// stage is who answers in a way that is not good.
type stage string

const (
	atRegistry   stage = "the registry"
	atRealm      stage = "its realm"
	atTarget     stage = "a redirect's target"
	atOther      stage = "another registry behind a redirect"
	atOtherRealm stage = "the realm of another registry"
)

var stages = []stage{atRegistry, atRealm, atTarget, atOther, atOtherRealm}

// outcome is what an answer means, and what clients get with nothing held.
type outcome struct {
	name   string
	want   error // with nothing held
	ends   bool  // what is held
	warned bool
}

var (
	good    = outcome{name: "good"}
	trouble = outcome{name: "trouble", want: core.ErrUpstream}
	late    = outcome{name: "late", want: core.ErrUpstreamTimeout}
	limited = outcome{name: "limited", want: core.ErrTooManyRequests}
	gone    = outcome{name: "gone", want: core.ErrManifestUnknown, warned: true}
	denied  = outcome{name: "denied", want: core.ErrDenied, ends: true}
	closed  = outcome{name: "closed", want: core.ErrManifestUnknown, ends: true}
	schema1 = outcome{name: "schema 1", want: core.ErrManifestInvalid, ends: true}
)

// answerKind is one kind of answer. Where only is empty any stage may give it.
type answerKind struct {
	name   string
	answer http.HandlerFunc
	means  func(stage) outcome
	only   []stage
	// requests are those that the registry gets, with something held and with nothing,
	// if it is the registry that answers so.
	held, cold int
}

func rightAnswer(w http.ResponseWriter, _ *http.Request) {
	data := document(len(layer))
	w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
	w.Header().Set("Docker-Content-Digest", string(digest.FromBytes(data)))
	_, _ = w.Write(data)
}

func sends(code int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if kind != "" {
			w.Header().Set("Content-Type", kind)
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
}

// damaged sends the right header with a body that damage has seen.
func damaged(damage func(w http.ResponseWriter, data []byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		data := document(len(layer))
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		damage(w, data)
	}
}

func always(o outcome) func(stage) outcome { return func(stage) outcome { return o } }

// only is for what the registry itself may say: from anybody else it is trouble.
func onlyOwn(o outcome) func(stage) outcome {
	return func(s stage) outcome {
		if s == atRegistry {
			return o
		}
		return trouble
	}
}

func kinds() []answerKind {
	var all []answerKind
	add := func(k answerKind) { all = append(all, k) }
	for _, code := range []int{400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 413, 415, 418, 421, 422, 424, 425, 428, 429, 431, 451, 499,
		500, 501, 502, 503, 504, 507, 511, 520, 204, 206, 300, 304, 305} {
		k := answerKind{name: fmt.Sprint(code), answer: sends(code, "text/html", ""), means: always(trouble), held: 3, cold: 2}
		if code >= 400 {
			k.answer = sends(code, "text/html", "<html>no</html>")
		}
		switch code {
		case 401, 403:
			k.held, k.cold = 2, 1
			k.means = func(s stage) outcome {
				switch s {
				case atRegistry:
					return denied
				case atRealm:
					return closed
				}
				return trouble
			}
		case 404, 410:
			k.means, k.cold = onlyOwn(gone), 1
		case 429:
			k.means, k.held, k.cold = always(limited), 1, 1
		default:
			if code >= 500 && code != 501 {
				k.held, k.cold = 1, 1
			}
		}
		add(k)
	}
	add(answerKind{name: "a page", answer: sends(200, "text/html", "<html>Please accept</html>"), means: always(trouble), held: 3, cold: 2})
	add(answerKind{name: "a page of JSON", answer: sends(200, "application/json", `{"login":"please"}`), means: always(trouble), held: 3, cold: 2})
	add(answerKind{name: "nothing", answer: sends(200, "", ""), means: always(trouble), held: 3, cold: 2})
	add(answerKind{name: "a reset", answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, means: always(trouble), held: 1, cold: 1})
	add(answerKind{name: "silence", answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, means: always(late), held: 1, cold: 1})
	add(answerKind{name: "a redirect in a circle", answer: func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	},
		means: always(trouble), held: 6, cold: 12})
	for name, to := range map[string]string{
		"a host without an address": "http://nowhere.test/x", "a private address": "http://169.254.169.254/x", "a file": "file:///etc/passwd",
		"TLS that is none": "https://away.test/x", "a password": "http://a:b@away.test/x",
	} {
		add(answerKind{name: "a redirect to " + name, answer: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusTemporaryRedirect) },
			means: always(trouble), held: 1, cold: 2})
	}
	own := []stage{atRegistry, atTarget, atOther} // who send manifests
	add(answerKind{name: "a manifest that breaks off", only: own, means: always(trouble), held: 3, cold: 2, answer: func(w http.ResponseWriter, r *http.Request) {
		data := document(len(layer))
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		if r.Method == http.MethodHead {
			return // net/http sees the header of an answer that is aborted behind it, or does not
		}
		_, _ = w.Write(data[:len(data)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}})
	add(answerKind{name: "half a manifest", only: own, means: always(trouble), held: 3, cold: 2, answer: damaged(func(w http.ResponseWriter, data []byte) {
		_, _ = w.Write(data[:len(data)/2])
	})})
	add(answerKind{name: "other bytes than it promises", only: own, means: always(trouble), held: 3, cold: 2, answer: func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Header().Set("Docker-Content-Digest", string(digest.FromString("other")))
		_, _ = w.Write(document(len(layer)))
	}})
	add(answerKind{name: "a manifest in a coding that was not asked for", only: own, means: always(trouble), held: 3, cold: 2, answer: damaged(func(w http.ResponseWriter, data []byte) {
		w.Header().Set("Content-Encoding", "br")
		_, _ = w.Write(append([]byte("\x8b\x02\x80"), data...)) // br decodes it to something that is not JSON
	})})
	add(answerKind{name: "a manifest that is two things", only: own, means: always(trouble), held: 3, cold: 2, answer: damaged(func(w http.ResponseWriter, data []byte) {
		_, _ = w.Write([]byte(strings.TrimSuffix(string(data), "}") + `,"manifests":[]}`))
	})})
	add(answerKind{name: "more than a manifest may be", only: own, means: always(trouble), held: 2, cold: 1, answer: damaged(func(w http.ResponseWriter, _ []byte) {
		_, _ = w.Write(make([]byte, core.MaxManifestSize+1))
	})})
	add(answerKind{name: "schema 1", only: own, means: onlyOwn(schema1), held: 2, cold: 1,
		answer: sends(200, "application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1,"fsLayers":[]}`)})
	add(answerKind{name: "the right one as a page", only: own, means: always(good), held: 2, cold: 1, answer: damaged(func(w http.ResponseWriter, data []byte) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write(data)
	})})
	for _, code := range []int{400, 401, 403, 404, 405, 406, 410, 418, 501} {
		add(answerKind{name: fmt.Sprint(code, " to HEAD alone"), only: own, means: always(good), held: 2, cold: 1, answer: func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(code)
				return
			}
			rightAnswer(w, r)
		}})
	}
	add(answerKind{name: "a digest to HEAD that is not there", only: own, means: always(good), held: 3, cold: 1, answer: func(w http.ResponseWriter, r *http.Request) {
		switch other := string(digest.FromString("other")); {
		case r.Method == http.MethodHead:
			w.Header().Set("Docker-Content-Digest", other)
		case strings.HasSuffix(r.URL.Path, other):
			w.WriteHeader(http.StatusNotFound)
		default:
			rightAnswer(w, r)
		}
	}})
	for _, code := range []int{403, 404, 400, 500, 200} {
		var once sync.Once
		add(answerKind{name: fmt.Sprint(code, " to one GET, and then the right one"), only: []stage{atTarget}, means: always(good), answer: func(w http.ResponseWriter, r *http.Request) {
			answer := http.HandlerFunc(rightAnswer)
			if r.Method == http.MethodGet {
				once.Do(func() { answer = sends(code, "application/xml", "<Error>expired</Error>") })
			} else {
				answer = sends(http.StatusForbidden, "", "") // signed for GET
			}
			answer(w, r)
		}})
	}
	return all
}

// crooked is a network on which one stage answers in one way.
func (f *fixture) crooked(t *testing.T, s stage, answer http.HandlerFunc) (asked func() int) {
	t.Helper()
	const challenge = `Bearer realm="http://%s/token",service="x"`
	wants := func(realm string, then http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer t" {
				w.Header().Set("Www-Authenticate", fmt.Sprintf(challenge, realm))
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			then(w, r)
		}
	}
	redirects := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+to+r.URL.Path, http.StatusTemporaryRedirect)
		}
	}
	gives := sends(200, "application/json", `{"token":"t","expires_in":300}`)
	hosts := map[string]http.HandlerFunc{"away.test": answer, "realm.test": gives, "other.test": nil}
	switch s {
	case atRegistry:
		hosts["registry.test"] = answer
	case atRealm:
		hosts["registry.test"], hosts["realm.test"] = wants("realm.test", rightAnswer), answer
	case atTarget:
		hosts["registry.test"] = redirects("away.test")
	case atOther:
		hosts["registry.test"], hosts["other.test"] = redirects("other.test"), wants("realm.test", answer)
	case atOtherRealm:
		hosts["registry.test"], hosts["other.test"], hosts["realm.test"] = redirects("other.test"), wants("realm.test", rightAnswer), answer
	}
	var mu sync.Mutex
	count := 0
	for host, h := range hosts {
		if h == nil {
			continue
		}
		l := f.network.Listen(host+":80", netip.MustParseAddr("203.0.113.7"))
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if host == "registry.test" {
				mu.Lock()
				count++
				mu.Unlock()
			}
			h(w, r)
		})}
		var done sync.WaitGroup
		done.Go(func() { _ = server.Serve(l) })
		t.Cleanup(func() {
			_ = server.Close()
			done.Wait()
		})
	}
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return count
	}
}

// An upstream's trouble is never our no: whoever answers within an exchange, in whatever
// way, only a registry's own word, and that of its realm, ends what is held.
func TestWhatAnAnswerMeans(t *testing.T) {
	for _, s := range stages {
		for _, k := range kinds() {
			if len(k.only) > 0 && !slices.Contains(k.only, s) {
				continue
			}
			for _, held := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s by %s, held %t", k.name, s, held), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { meansWhatItShould(t, s, k, held) })
				})
			}
		}
	}
}

func meansWhatItShould(t *testing.T, s stage, k answerKind, held bool) {
	f := start(t, mirror.Settings{})
	if held {
		if _, err := f.Manifest(fetch, repo, latest); err != nil {
			t.Fatal(err)
		}
		time.Sleep(mirror.DefaultTTL)
	}
	f.disconnect(t)
	asked := f.crooked(t, s, k.answer)
	means := k.means(s)
	want := means.want
	if held && !means.ends {
		want = nil
	}
	ctx, notes := core.WithNotes(fetch)
	m, err := f.Manifest(ctx, repo, latest)
	if !errors.Is(err, want) || err == nil && (m.Descriptor.Digest != f.image || digest.FromBytes(m.Bytes) != f.image) {
		t.Errorf("got %v, %v, want %v", m.Descriptor.Digest, err, want)
	}
	if got := len(notes.Warnings()) > 0; got != (held && means.warned) {
		t.Errorf("warned of %q", notes.Warnings())
	}
	most := k.cold
	if held {
		most = k.held
	}
	if got := asked(); s == atRegistry && got != most || got > 16 {
		t.Errorf("the registry got %d requests, want %d", got, most)
	}
	// The outage that follows shows what is left.
	f.network.Refuse(f.up.Registry, true)
	f.restart(t)
	time.Sleep(upstream.DefaultBreaker)
	_, err = f.Manifest(fetch, repo, latest)
	if left := held && !means.ends || !held && means.want == nil; (err == nil) != left || err != nil && !errors.Is(err, core.ErrUpstream) {
		t.Errorf("in an outage afterwards: got %v, want it served: %t", err, left)
	}
}
