package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/running"
)

// catalog asks a registry what it holds, by its JSON API (package api).
type catalog struct {
	// base is the registry's address without a slash at its end, and send sends a request there.
	base string
	send func(*http.Request) (*http.Response, error)
}

// maxAPIAnswer bounds an answer, in bytes: 500 rows of 20 KB, and as much again.
const maxAPIAnswer = 20 << 20

// withCatalog calls use with the registry at server or, without one, with that of the location: the
// running process, or else the storage, opened here.
func (l *location) withCatalog(ctx context.Context, server string, use func(*catalog) error) error {
	if server != "" {
		remote, err := remoteCatalog(server)
		if err != nil {
			return err
		}
		return use(remote)
	}
	r, err := l.find()
	if err != nil {
		return err
	}
	return whileStarting(ctx, func() error {
		c := &catalog{"http://control", func(request *http.Request) (*http.Response, error) { return control.Do(r.local, request) }}
		// Which of the two it is is found out before anything is printed.
		if _, err := c.ask(ctx, http.MethodGet, "/api/state", nil, new(api.State)); err == nil {
			return use(c)
		} else if !errors.Is(err, control.ErrNobodyListens) {
			return err
		}
		return r.withTrees(ctx, func(t *running.Trees) error {
			handler := t.API(slog.New(slog.DiscardHandler))
			return use(&catalog{"http://storage", func(request *http.Request) (*http.Response, error) { return inProcess(handler, request), nil }})
		})
	})
}

// ask sends a request and reads the answer, whose bytes it returns, too. Errors: what the registry
// said.
func (c *catalog) ask(ctx context.Context, method, path string, query url.Values, answer any) ([]byte, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.send(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAPIAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the registry's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		var refused api.Errors
		if json.Unmarshal(body, &refused) == nil && len(refused.Errors) > 0 {
			return nil, fmt.Errorf("%s: %s", response.Status, printable(refused.Errors[0].Message))
		}
		return nil, fmt.Errorf("%s answered %s; it may be another program, or an older version of this one", target, response.Status)
	}
	if len(body) > maxAPIAnswer {
		return nil, fmt.Errorf("%s answered with more than %d bytes", target, maxAPIAnswer)
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return nil, fmt.Errorf("read the registry's answer: %w", err)
	}
	return body, nil
}

// list asks for a list page by page, and calls each with every page. It keeps one page in memory.
func (c *catalog) list(ctx context.Context, path string, query url.Values, each func(page *api.List, body []byte) error) error {
	for {
		page := new(api.List)
		body, err := c.ask(ctx, http.MethodGet, path, query, page)
		if err != nil {
			return err
		}
		if err := each(page, body); err != nil {
			return err
		}
		if !page.More {
			return nil
		}
		if page.After == query.Get("after") {
			return errors.New("the registry's list does not go on; its answer is wrong")
		}
		query.Set("after", page.After)
	}
}

// remoteCatalog asks a registry over HTTP with the credentials of docker login. They are sent only
// where others cannot read them.
func remoteCatalog(server string) (*catalog, error) {
	if !strings.Contains(server, "://") {
		server = "https://" + server
	}
	base, err := url.Parse(server)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" || strings.Trim(base.Path, "/") != "" || base.RawQuery != "" || base.User != nil {
		return nil, fmt.Errorf("--server %s is not an address like https://registry.example.org", printable(server))
	}
	auth := new(authn.AuthConfig)
	if base.Scheme == "https" || isLoopback(base.Hostname()) {
		if auth, err = credentialsFor(base.Host, "", ""); err != nil {
			return nil, err
		}
	}
	transport := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	c := &catalog{base: base.Scheme + "://" + base.Host}
	token := "" // of /token, once the credentials turn out to be good only there
	c.send = func(request *http.Request) (*http.Response, error) {
		switch {
		case token != "":
			request.Header.Set("Authorization", "Bearer "+token)
		case auth.RegistryToken != "" || auth.IdentityToken != "":
			request.Header.Set("Authorization", "Bearer "+auth.RegistryToken+auth.IdentityToken)
		case auth.Username != "" || auth.Password != "":
			request.SetBasicAuth(auth.Username, auth.Password)
		}
		response, err := transport.Do(request)
		if err != nil || response.StatusCode != http.StatusUnauthorized || token != "" || auth.Password == "" {
			return response, err
		}
		// A user's own password is taken only at /token.
		if token, err = c.token(request.Context(), transport, auth); err != nil || token == "" {
			return response, err
		}
		response.Body.Close()
		request.Header.Set("Authorization", "Bearer "+token)
		return transport.Do(request)
	}
	return c, nil
}

// token exchanges a password for a registry token. It is empty if the password is wrong.
func (c *catalog) token(ctx context.Context, client *http.Client, auth *authn.AuthConfig) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/token", nil)
	if err != nil {
		return "", err
	}
	request.SetBasicAuth(auth.Username, auth.Password)
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var answer struct {
		Token string `json:"token"`
	}
	if response.StatusCode != http.StatusOK || json.NewDecoder(io.LimitReader(response.Body, maxAPIAnswer)).Decode(&answer) != nil {
		return "", nil
	}
	return answer.Token, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// inProcess has a handler answer a request. The whole answer is in memory.
func inProcess(handler http.Handler, request *http.Request) *http.Response {
	answer := &answered{header: http.Header{}, status: http.StatusOK}
	handler.ServeHTTP(answer, request)
	return &http.Response{
		Status: fmt.Sprintf("%d %s", answer.status, http.StatusText(answer.status)), StatusCode: answer.status,
		Header: answer.header, Body: io.NopCloser(&answer.body),
	}
}

// answered is an answer in memory.
type answered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answered) Header() http.Header            { return a.header }
func (a *answered) WriteHeader(status int)         { a.status = status }
func (a *answered) Write(data []byte) (int, error) { return a.body.Write(data) }
