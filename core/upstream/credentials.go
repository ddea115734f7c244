package upstream

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
)

// login finds the credentials of c, or nil for none.
func login(c Config) (*authn.AuthConfig, error) {
	switch {
	case c.User != "" && c.Secret != "":
		return &authn.AuthConfig{Username: c.User, Password: c.Secret}, nil
	case c.User != "" || c.Secret != "":
		return nil, fmt.Errorf("credentials of %s: user and secret are both needed", c.Name)
	case c.CredentialsFile == "":
		return nil, nil
	}
	data, err := os.ReadFile(c.CredentialsFile)
	if err != nil {
		return nil, fmt.Errorf("credentials of %s: %w", c.Name, err)
	}
	found, err := fromDockerConfig(data, c.Name)
	if err != nil {
		return nil, fmt.Errorf("credentials of %s in %s: %w", c.Name, c.CredentialsFile, err)
	}
	return found, nil
}

// fromDockerConfig finds the entry for a registry in a docker config file. Errors
// never repeat the file's content.
func fromDockerConfig(data []byte, registry string) (*authn.AuthConfig, error) {
	var file struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			Username      string `json:"username"`
			Password      string `json:"password"`
			IdentityToken string `json:"identitytoken"`
		} `json:"auths"`
		CredsStore  string            `json:"credsStore"`
		CredHelpers map[string]string `json:"credHelpers"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("not a docker config file")
	}
	for key, entry := range file.Auths {
		if entryHost(key) != entryHost(registry) {
			continue
		}
		found := authn.AuthConfig{Username: entry.Username, Password: entry.Password, IdentityToken: entry.IdentityToken}
		if entry.Auth != "" {
			pair, err := base64.StdEncoding.DecodeString(entry.Auth)
			user, secret, ok := strings.Cut(string(pair), ":")
			if err != nil || !ok {
				return nil, fmt.Errorf("the entry's auth is not base64 of user:secret")
			}
			// Docker pads the secret with null bytes.
			found.Username, found.Password = user, strings.TrimRight(secret, "\x00")
		}
		if found.IdentityToken != "" || found.Username != "" && found.Password != "" {
			return &found, nil
		}
	}
	if file.CredsStore != "" || len(file.CredHelpers) > 0 {
		// A helper is a program, which this server does not run.
		return nil, fmt.Errorf("there is no entry in auths, and credential helpers are not supported")
	}
	return nil, fmt.Errorf("there is no entry")
}

// entryHost is the host of a key of `auths`, which may be a URL with a path. Docker
// writes its own Hub as https://index.docker.io/v1/.
func entryHost(key string) string {
	_, rest, ok := strings.Cut(key, "://")
	if !ok {
		rest = key
	}
	host, _, _ := strings.Cut(rest, "/")
	host = strings.ToLower(host)
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		return "docker.io"
	}
	return host
}
