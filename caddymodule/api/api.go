package api

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/eblume/caddy-registry/caddymodule/overview"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/wire"
)

// API answers for one caller.
type API struct {
	// Registry is what the caller may do. Deletions are audited by it.
	Registry core.Registry
	// Mirror returns the mirror that a repository belongs to, or "".
	Mirror func(repo string) string
	// Rights returns what the caller may do in a repository. nil: answers leave it out.
	Rights func(repo string) []Right
	// MayDelete returns the refusal of a caller who may not delete in a repository. nil: every caller
	// may see plans, and Registry refuses the deletion.
	MayDelete func(repo string) error
	// View shows the caller mirrors, activity and storage. nil: there are none.
	View *overview.Viewer
	// Cursors hide the places of lists, which may be names that the caller must not learn. nil:
	// the caller may see everything.
	Cursors wire.Cursors
	// ReadOnly sites take no DELETE.
	ReadOnly bool
	// Fail answers with an error about a repository, "" if it is about none. nil: wire.Fail.
	Fail func(w http.ResponseWriter, r *http.Request, repo string, err error)
	// Log gets the errors that end a deletion halfway. nil: nothing does.
	Log *slog.Logger
}

// Right says whether the caller may do something in a repository.
type Right struct {
	Action  string `json:"action"`
	Allowed bool   `json:"allowed"`
	// Rule is the rule that decided, and Line where it is written. They are empty if no rule
	// allows it, and for anonymous callers: rules name people and groups.
	Rule string `json:"rule,omitempty"`
	Line string `json:"line,omitempty"`
	// Narrowed: the rules allow it, but not with this key.
	Narrowed bool `json:"narrowed,omitempty"`
}

//go:embed openapi.json
var document []byte

var crossOrigin = http.NewCrossOriginProtection()

// problem is an error that only this API has.
type problem struct {
	status        int
	code, message string
	detail        any
}

// retryAfter is how long a client is asked to wait with 503, in seconds. It is that of package wire.
const retryAfter = "5"

func (p *problem) Error() string { return p.message }

var errRoute = &problem{status: http.StatusNotFound, code: "UNSUPPORTED", message: "no such address below /api/; /api/openapi.json lists them"}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", wire.ErrQuery, fmt.Sprintf(format, args...))
}

// ServeHTTP answers a request for a path that Serves names.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	wire.Protect(w.Header())
	w.Header().Set("Cache-Control", "private, no-store")
	wire.LeaveBody(w, r)
	e := &exchange{API: a, r: r}
	answer, err := e.answer(w)
	if wrong, ok := errors.AsType[*problem](err); ok {
		if wrong.status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", retryAfter)
		}
		write(w, r, wrong.status, Errors{[]Error{{wrong.code, wrong.message, wrong.detail}}})
		return
	}
	if err == nil {
		write(w, r, http.StatusOK, answer)
		return
	}
	if a.Fail == nil {
		wire.Fail(w, r, wire.Request{}, err, wire.Options{})
		return
	}
	a.Fail(w, r, e.repo, err)
}

// exchange is one request on its way.
type exchange struct {
	*API
	r *http.Request
	target
	query map[string]string
}

// answer returns what the request asks for.
func (e *exchange) answer(w http.ResponseWriter) (any, error) {
	route, err := e.target.parse(e.r.URL.Path)
	if err != nil {
		return nil, err
	}
	methods := []string{http.MethodGet, http.MethodHead}
	if route.delete != nil && !e.ReadOnly {
		methods = append(methods, http.MethodDelete)
	}
	if !slices.Contains(methods, e.r.Method) {
		allow := strings.Join(methods, ", ")
		w.Header().Set("Allow", allow)
		return nil, &problem{status: http.StatusMethodNotAllowed, code: "UNSUPPORTED", message: "this address takes " + allow}
	}
	if err := crossOrigin.Check(e.r); err != nil {
		return nil, &problem{status: http.StatusForbidden, code: "DENIED", message: "another site made your browser send this"}
	}
	if e.r.Method == http.MethodDelete {
		if err := e.readQuery(route.deleteQuery); err != nil {
			return nil, err
		}
		return route.delete(e)
	}
	if err := e.readQuery(route.query); err != nil {
		return nil, err
	}
	return route.get(e)
}

// readQuery reads the parameters, each of which the route must know.
func (e *exchange) readQuery(known []string) error {
	values, err := queryOf(e.r.URL.RawQuery)
	if err != nil {
		return err
	}
	e.query = map[string]string{}
	for name, all := range values {
		if !slices.Contains(known, name) {
			return invalid("unknown parameter %q; %s", core.Clip(name), takes(known))
		}
		if len(all) > 1 {
			return invalid("duplicate parameter %s", name)
		}
		e.query[name] = all[0]
	}
	return nil
}

func takes(known []string) string {
	if len(known) == 0 {
		return "this address takes none"
	}
	return "this address takes " + strings.Join(known, ", ")
}

// write sends an answer as JSON. It fails only if the client is gone.
func write(w http.ResponseWriter, r *http.Request, status int, answer any) {
	body, raw := answer.(json.RawMessage)
	if !raw {
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false) // it is never a page
		if err := encoder.Encode(answer); err != nil {
			panic(err) // the answers are made of strings, numbers and times
		}
		body = out.Bytes()
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

func (e *exchange) state() (any, error) {
	state, err := e.Registry.CatalogState(e.r.Context())
	return State{state.Whole, state.Described, state.Manifests}, err
}

func (e *exchange) openAPI() (any, error) { return json.RawMessage(document), nil }
