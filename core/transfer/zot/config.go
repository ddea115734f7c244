package zot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// maxConfig bounds a configuration file, in bytes. Real ones have a few kilobytes.
const maxConfig = 1 << 20

// Config is what a move needs of zot's configuration file (zot's pkg/api/config). zot ignores the
// case of names, and so does ReadConfig; other fields are not read.
type Config struct {
	Storage struct {
		RootDirectory string `json:"rootDirectory"`
		// SubPaths are further directories, by the first component of the repositories in them.
		SubPaths map[string]struct {
			RootDirectory string `json:"rootDirectory"`
		} `json:"subPaths"`
		// StorageDriver is for content that is not in a directory.
		StorageDriver struct {
			Name string `json:"name"`
		} `json:"storageDriver"`
		Retention struct {
			Policies []json.RawMessage `json:"policies"`
		} `json:"retention"`
	} `json:"storage"`
	HTTP struct {
		Auth struct {
			HTPasswd struct {
				Path string `json:"path"`
			} `json:"htpasswd"`
			LDAP   *json.RawMessage `json:"ldap"`
			Bearer *json.RawMessage `json:"bearer"`
			OpenID struct {
				Providers map[string]Provider `json:"providers"`
			} `json:"openid"`
		} `json:"auth"`
		AccessControl struct {
			Repositories map[string]json.RawMessage `json:"repositories"`
			AdminPolicy  Policy                     `json:"adminPolicy"`
			Groups       map[string]struct {
				Users []string `json:"users"`
			} `json:"groups"`
		} `json:"accessControl"`
	} `json:"http"`
	Extensions struct {
		Sync struct {
			Enable     *bool      `json:"enable"` // nil: it is
			Registries []Upstream `json:"registries"`
		} `json:"sync"`
	} `json:"extensions"`

	// Repositories are the members of http.accessControl.repositories, by their pattern.
	Repositories map[string]Repository `json:"-"`
}

// Provider is a provider of sign-ins.
type Provider struct {
	Issuer string `json:"issuer"`
}

// Policy allows actions to users and to groups.
type Policy struct {
	Users   []string `json:"users"`
	Groups  []string `json:"groups"`
	Actions []string `json:"actions"`
}

// Repository is the access control of the repositories that a pattern matches. zot applies only
// the longest pattern that matches a repository.
type Repository struct {
	Policies        []Policy `json:"policies"`
	DefaultPolicy   []string `json:"defaultPolicy"`
	AnonymousPolicy []string `json:"anonymousPolicy"`
}

// Upstream is a registry whose images zot fetches.
type Upstream struct {
	URLs           []string `json:"urls"`
	OnDemand       bool     `json:"onDemand"`
	PollInterval   any      `json:"pollInterval"`
	TLSVerify      *bool    `json:"tlsVerify"` // nil: true
	CertDir        string   `json:"certDir"`
	PreserveDigest bool     `json:"preserveDigest"`
	Content        []struct {
		Prefix      string `json:"prefix"`
		Destination string `json:"destination"`
		StripPrefix bool   `json:"stripPrefix"`
	} `json:"content"`
}

// ReadConfig reads a configuration file in JSON. Errors: those of the file; a value of the wrong
// type, with its path.
func ReadConfig(name string) (*Config, error) {
	c := &Config{Repositories: map[string]Repository{}}
	data, err := readRegular(name)
	if err == nil {
		err = decode("", data, c)
	}
	if err == nil {
		for _, pattern := range slices.Sorted(maps.Keys(c.HTTP.AccessControl.Repositories)) {
			var r Repository
			at := fmt.Sprintf("http.accessControl.repositories[%.100q]", pattern)
			if err = decode(at, c.HTTP.AccessControl.Repositories[pattern], &r); err != nil {
				break
			}
			c.Repositories[pattern] = r
		}
	}
	if err != nil {
		return nil, fmt.Errorf("zot's configuration %s: %w", name, err)
	}
	return c, nil
}

func readRegular(name string) ([]byte, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return nil, errors.Unwrap(err) // without the name
	}
	if !fi.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(data) > maxConfig {
		err = fmt.Errorf("larger than %d bytes", maxConfig)
	}
	return data, err
}

// decode reads JSON that is found at a path, or at the root.
func decode(at string, data []byte, into any) error {
	err := json.Unmarshal(data, into)
	var wrong *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrong):
		path := wrong.Field
		if at != "" && path != "" {
			path = at + "." + path
		} else if at != "" {
			path = at
		}
		if path == "" {
			path = "the whole file"
		}
		return fmt.Errorf("%s has the wrong type: %s", path, wrong.Value)
	case errors.As(err, &syntax):
		line := 1 + bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n"))
		return fmt.Errorf("line %d: %w; convert a configuration in YAML to JSON first", line, syntax)
	}
	return err
}

// Root returns the directory with the images. Errors: there is none, or it is not named by its
// absolute path, or the content is not in a directory.
func (c *Config) Root() (string, error) {
	root, driver := c.Storage.RootDirectory, c.Storage.StorageDriver.Name
	switch {
	case driver != "" && driver != "local":
		return "", fmt.Errorf("zot keeps its content in %.40q (storage.storageDriver), which cannot be read; start zot, and use registry import registry", driver)
	case root == "":
		return "", errors.New("zot's configuration has no storage.rootDirectory; write <rootdir>")
	case !filepath.IsAbs(root):
		return "", fmt.Errorf("storage.rootDirectory %.200q depends on the directory in which zot was started; write <rootdir>", root)
	}
	return filepath.Clean(root), nil
}

// Agrees reports whether a directory is the one of the configuration, as far as that names it by an
// absolute path. Errors: it is another one.
func (c *Config) Agrees(dir string) error {
	root := c.Storage.RootDirectory
	if !filepath.IsAbs(root) || filepath.Clean(root) == dir {
		return nil
	}
	one, err := os.Stat(root)
	other, also := os.Stat(dir)
	if err == nil && also == nil && os.SameFile(one, other) {
		return nil
	}
	return fmt.Errorf("<rootdir> is %s, but storage.rootDirectory in zot's configuration is %.200q; leave out <rootdir>, or correct one of them", dir, root)
}
