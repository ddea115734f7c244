package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/policies"
)

// apiPath is the keys as JSON; below it is one by its ID.
const apiPath = "/api/keys"

func isAPI(path string) bool { return path == apiPath || strings.HasPrefix(path, apiPath+"/") }

// problem is an error of the API: a status, a code for programs, a sentence for people.
type problem struct {
	status        int
	code, message string
}

func (p *problem) Error() string { return p.message }

// asked is the user of the API, and the kind of authentication.
type asked struct {
	policies.Identity
	// key reports that an API key was used, which may only see and revoke itself.
	key bool
}

// api answers below apiPath. A user that is signed in with a browser may do the same as on the
// page, with the same cookie and the same protection against other sites. With an API key a
// caller may only see that key and revoke it: a stolen key must not reveal others, or make one
// that outlives it.
//
//	GET    /api/keys[?user=]  200 {"keys": […]}; for an admin, those of all users
//	POST   /api/keys          201 {"key": {…}, "secret": "…"}; the secret is shown once
//	GET    /api/keys/<id>     200 {"key": {…}}
//	DELETE /api/keys/<id>     200 {"key": {…}}, revoked
//
// Errors are {"errors": [{"code", "message"}]}, like those of the registry.
func (s *Site) api(w http.ResponseWriter, r *http.Request) {
	status, body, err := s.answer(w, r)
	var wrong *problem
	switch {
	case errors.Is(err, errAnswered):
		return
	case errors.As(err, &wrong):
	case errors.Is(err, errForbidden), errors.Is(err, identity.ErrTooManyKeys):
		wrong = &problem{http.StatusForbidden, "DENIED", err.Error()}
	case errors.Is(err, identity.ErrKeyUnknown):
		wrong = &problem{http.StatusNotFound, "KEY_UNKNOWN", "there is no such key, or it is not yours"}
	case errors.Is(err, identity.ErrKeyInvalid), errors.Is(err, identity.ErrUserInvalid), errors.Is(err, errForm):
		wrong = &problem{http.StatusBadRequest, "KEY_INVALID", err.Error()}
	case err != nil:
		s.Log.Error("API failed", "path", r.URL.Path, "error", err)
		wrong = &problem{http.StatusInternalServerError, "UNKNOWN", "the registry could not do it; its log says why"}
	}
	if wrong != nil {
		if wrong.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="API keys"`)
		}
		status = wrong.status
		body = map[string]any{"errors": []map[string]string{{"code": wrong.code, "message": wrong.message}}}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		json.NewEncoder(w).Encode(body) // an error is the caller's having left
	}
}

// errAnswered: the answer has been written.
var errAnswered = errors.New("answered")

// keyJSON is a key as the API shows it.
type keyJSON struct {
	identity.Key
	State string `json:"state"`
}

// shown is a key as a caller sees it. A key does not see from where it is used: it may be stolen.
func shown(key identity.Key, who asked) keyJSON {
	if who.key {
		key.UsedFrom = ""
	}
	return keyJSON{key, stateOf(key)}
}

func (s *Site) answer(w http.ResponseWriter, r *http.Request) (status int, body any, err error) {
	id, one := strings.CutPrefix(r.URL.Path, apiPath+"/")
	methods := []string{http.MethodGet, http.MethodHead, http.MethodPost}
	if one {
		methods[2] = http.MethodDelete
	}
	if !slices.Contains(methods, r.Method) {
		w.Header().Set("Allow", strings.Join(methods, ", "))
		return 0, nil, &problem{http.StatusMethodNotAllowed, "UNSUPPORTED", "here are " + strings.Join(methods, ", ")}
	}
	conn := s.Connection(r)
	if !conn.Private() && !s.Insecure {
		return 0, nil, &problem{http.StatusForbidden, "DENIED", "this is plain HTTP, where others could read what is sent; use https"}
	}
	if err := crossOrigin.Check(r); err != nil {
		return 0, nil, &problem{http.StatusForbidden, "DENIED", "another site made your browser send this"}
	}
	who, err := s.asks(w, r, conn.HTTPS)
	if err != nil {
		return 0, nil, err
	}
	switch r.Method {
	case http.MethodPost:
		return s.postKey(w, r, who)
	case http.MethodDelete:
		key, err := s.revoke(r, who, id)
		return http.StatusOK, map[string]any{"key": shown(key, who)}, err
	}
	if one {
		key, ok := s.Identity.Keys().Get(id)
		if !ok || !s.mayTouch(who, key) {
			return 0, nil, identity.ErrKeyUnknown
		}
		return http.StatusOK, map[string]any{"key": shown(key, who)}, nil
	}
	keys, err := s.listKeys(r, who)
	return http.StatusOK, map[string]any{"keys": keys}, err
}

// asks identifies the user of the API. An Authorization field takes precedence over a cookie.
func (s *Site) asks(w http.ResponseWriter, r *http.Request, https bool) (asked, error) {
	if _, ok := r.Header["Authorization"]; ok {
		who, ok := s.Key(w, r)
		if !ok {
			return asked{}, errAnswered
		}
		if who.Key.ID == "" {
			return asked{}, &problem{http.StatusForbidden, "DENIED", "send an API key, or the cookie of a session"}
		}
		return asked{who, true}, nil
	}
	who, in := s.who(r, https)
	if !in {
		return asked{}, &problem{http.StatusUnauthorized, "UNAUTHORIZED", "sign in at /login, or send an API key as Bearer"}
	}
	return asked{who, false}, nil
}

// mayTouch reports whether a user may see and revoke a key.
func (s *Site) mayTouch(who asked, key identity.Key) bool {
	if who.key {
		return key.ID == who.Key.ID
	}
	return key.User == who.User || s.Admins.Includes(who.Identity)
}

func (s *Site) listKeys(r *http.Request, who asked) ([]keyJSON, error) {
	user := r.URL.Query().Get("user")
	if user != "" && user != who.User && (who.key || !s.Admins.Includes(who.Identity)) {
		return nil, errForbidden
	}
	if user == "" && (who.key || !s.Admins.Includes(who.Identity)) {
		user = who.User
	}
	list := []keyJSON{}
	for _, key := range s.Identity.Keys().List(user) {
		if s.mayTouch(who, key) {
			list = append(list, shown(key, who))
		}
	}
	return list, nil
}

// postKey makes a key, for the caller or, with user, for a service account.
func (s *Site) postKey(w http.ResponseWriter, r *http.Request, who asked) (int, any, error) {
	if who.key {
		return 0, nil, &problem{http.StatusForbidden, "DENIED", "a key does not make keys; sign in at /login"}
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		return 0, nil, &problem{http.StatusUnsupportedMediaType, "UNSUPPORTED", "send Content-Type: application/json"}
	}
	var want struct {
		Name    string   `json:"name"`
		Expires string   `json:"expires"`
		Actions []string `json:"actions"`
		Globs   []string `json:"globs"`
		User    string   `json:"user"`
		Groups  []string `json:"groups"`
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&want); err != nil || decoder.More() {
		return 0, nil, fmt.Errorf("%w: the body is one JSON object with name, expires, actions, globs, and for a service account user and groups", errForm)
	}
	lifetime, err := lifetimeOf(want.Expires)
	if err != nil {
		return 0, nil, err
	}
	secret, key, err := s.create(r, who.Identity, identity.NewKey{
		User: want.User, Service: want.User != "", Groups: want.Groups,
		Name: strings.TrimSpace(want.Name), Lifetime: lifetime, Actions: want.Actions, Globs: want.Globs,
	})
	if err != nil {
		return 0, nil, err
	}
	w.Header().Set("Location", apiPath+"/"+key.ID)
	return http.StatusCreated, map[string]any{"key": shown(key, who), "secret": secret}, nil
}

// lifetimeOf reads how long a key shall last: 90d, 12h, or until when. Empty: 0.
func lifetimeOf(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	lifetime, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok && err != nil {
		var n int
		if n, err = strconv.Atoi(days); err == nil && n < 100_000 {
			lifetime = time.Duration(n) * 24 * time.Hour
		}
	}
	if err != nil {
		var end time.Time
		if end, err = time.Parse(time.RFC3339, text); err == nil {
			lifetime = time.Until(end)
		}
	}
	if err != nil || lifetime < time.Second {
		return 0, fmt.Errorf("%w: expires is a time to come, as 90d, 12h or 2027-01-31T00:00:00Z", errForm)
	}
	return lifetime, nil
}
