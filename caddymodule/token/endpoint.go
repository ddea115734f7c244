package token

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/wire"
)

// Path is that of the token endpoint on every site.
const Path = "/token"

// Ask is a request for a token that is not answered yet.
type Ask struct {
	// Scopes say what the client is about to do. They do not change the token; they decide
	// whether the caller may be anonymous.
	Scopes []Scope
	// Form reports that the body had the credential: User and Password of the password grant, or
	// Password alone of the refresh grant. Else the header has it.
	Form           bool
	User, Password string
}

// ErrRequest is a request for a token that cannot be understood.
var ErrRequest = core.WithPublic(fmt.Errorf("%w: %s", wire.ErrQuery, badRequest), badRequest)

const badRequest = "token request invalid: grant_type is password or refresh_token"

// maxForm bounds a body, in bytes: a workload token and a hundred scopes.
const maxForm = 64 << 10

// Read reads a GET, or a POST with a form: grant_type password, or refresh_token with
// an API key in the place of the refresh token. It ignores service, account, client_id,
// access_type and offline_token: the token is for the host that was called, and keys are the only
// refresh tokens. Errors: ErrRequest.
func Read(w http.ResponseWriter, r *http.Request) (Ask, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return Ask{}, ErrRequest
	}
	if r.Method != http.MethodPost {
		return Ask{Scopes: parseScopes(query["scope"])}, nil
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return Ask{}, ErrRequest
	}
	// Secrets are taken from the body only: a URL ends in logs.
	form := r.PostForm
	ask := Ask{Scopes: parseScopes(append(query["scope"], form["scope"]...))}
	switch form.Get("grant_type") {
	case "password":
		ask.Form, ask.User, ask.Password = true, form.Get("username"), form.Get("password")
	case "refresh_token":
		ask.Form, ask.Password = true, form.Get("refresh_token")
		if ask.Password == "" {
			return Ask{}, ErrRequest
		}
	case "":
	default:
		return Ask{}, ErrRequest
	}
	return ask, nil
}

// answer is the JSON for clients: some read `token`, some `access_token`.
type answer struct {
	Token       string `json:"token"`
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"` // seconds
	IssuedAt    string `json:"issued_at"`
}

// Write answers with a token that Sign made.
func Write(w http.ResponseWriter, raw string, claims Claims) error {
	body, err := json.Marshal(answer{
		Token: raw, AccessToken: raw,
		ExpiresIn: claims.Expires - claims.IssuedAt,
		IssuedAt:  time.Unix(claims.IssuedAt, 0).UTC().Format(time.RFC3339),
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, err = w.Write(body)
	return err
}
