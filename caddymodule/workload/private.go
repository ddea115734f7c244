package workload

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/eblume/caddy-registry/caddymodule/jwks"
)

// Files configure access to an issuer that is not public, such as that of a Kubernetes cluster.
// They are read at each request, because their rotation is not announced. The zero value is for a
// public issuer.
type Files struct {
	// CA has the certificates of the issuer's authorities, in PEM. If it is set, no others are
	// trusted. Default: those of the system.
	CA string
	// Keys is a key set (RFC 7517). With it no request is made to the issuer.
	Keys string
	// BearerToken is a token to present to the issuer, and to the address of its keys.
	BearerToken string
}

// Check refuses files that do not go together.
func (f Files) Check() error {
	if f.Keys != "" && (f.CA != "" || f.BearerToken != "") {
		return errors.New("keys_file asks the issuer nothing: remove ca and bearer_token_file, or keys_file")
	}
	return nil
}

const (
	// maxFile bounds the files of authorities and keys, in bytes, as answers are.
	maxFile = jwks.MaxAnswer
	// maxBearer bounds a bearer token, in bytes, by what servers accept in a header.
	maxBearer = 16 << 10
)

// fetch requests the address of the keys, and then the keys.
func (i *Issuer) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	if i.files.Keys != "" {
		data, err := readFile(i.files.Keys, maxFile)
		if err != nil {
			return nil, fmt.Errorf("keys_file: %w", err)
		}
		keys, err := jwks.Read(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("keys_file %s: %w", i.files.Keys, err)
		}
		return keys, nil
	}
	client, ask, err := i.asker()
	if err != nil {
		return nil, err
	}
	ctx = oidc.ClientContext(ctx, client)
	provider, err := oidc.NewProvider(ctx, i.url) // which returns an error if the issuer has another name
	if err != nil {
		return nil, err
	}
	var document struct {
		Keys string `json:"jwks_uri"`
	}
	if err := provider.Claims(&document); err != nil {
		return nil, err
	}
	address, err := url.Parse(document.Keys)
	if err != nil {
		return nil, fmt.Errorf("jwks_uri: %w", err)
	}
	if err := i.private(address); err != nil {
		return nil, fmt.Errorf("jwks_uri: %w", err)
	}
	ask.hosts = append(ask.hosts, address.Host) // Kubernetes names the server by its IP address
	keys, err := jwks.Fetch(ctx, client, document.Keys)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return keys, nil
}

// asker makes a client from the present content of the files.
func (i *Issuer) asker() (*http.Client, *authorized, error) {
	ask := &authorized{RoundTripper: i.transport}
	if i.files.CA != "" {
		data, err := readFile(i.files.CA, maxFile)
		if err != nil {
			return nil, nil, fmt.Errorf("ca: %w", err)
		}
		authorities := x509.NewCertPool()
		if !authorities.AppendCertsFromPEM(data) {
			return nil, nil, fmt.Errorf("ca: %s has no certificate in PEM", i.files.CA)
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: authorities}
		transport.DisableKeepAlives = true // it is used for two requests
		ask.RoundTripper = transport
	}
	if i.files.BearerToken != "" {
		data, err := readFile(i.files.BearerToken, maxBearer)
		if err != nil {
			return nil, nil, fmt.Errorf("bearer_token_file: %w", err)
		}
		if ask.token = strings.TrimSpace(string(data)); ask.token == "" || strings.ContainsAny(ask.token, "\r\n\x00") {
			return nil, nil, fmt.Errorf("bearer_token_file: %s has no token on its one line", i.files.BearerToken)
		}
	}
	own, err := url.Parse(i.url)
	if err != nil {
		return nil, nil, err
	}
	ask.hosts = []string{own.Host}
	return jwks.Client(ask, callTimeout, i.private), ask, nil
}

// authorized sends a token only to some hosts, and not to hosts to which these
// redirect.
type authorized struct {
	http.RoundTripper
	token string
	hosts []string
}

func (a *authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	for _, host := range a.hosts {
		if a.token != "" && r.URL.Host == host {
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", "Bearer "+a.token)
			break
		}
	}
	return a.RoundTripper.RoundTrip(r)
}

// readFile reads a file of bounded size.
func readFile(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return data, err
}
