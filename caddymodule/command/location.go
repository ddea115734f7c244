package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/eblume/caddy-registry/caddymodule/admins"
	"github.com/eblume/caddy-registry/caddymodule/config"
	"github.com/eblume/caddy-registry/caddymodule/console"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/caddymodule/sites"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/quota"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/policies"
)

// location has the flags with which the user of a command names the registry.
type location struct {
	config, adapter, storage string
	// document is the configuration from name, after it was read: a command that uses it twice
	// prints its warnings once.
	document []byte
	name     string
	// stderr is the standard error of the command; nil: the process's.
	stderr func() io.Writer
}

// errBothNamed reports a command line that names two registries.
var errBothNamed = errors.New("--storage cannot be combined with --config or --adapter; use one of them")

// check refuses an ambiguous location.
func (l *location) check() error {
	if l.storage != "" && (l.config != "" || l.adapter != "") {
		return errBothNamed
	}
	return nil
}

// registry is a registry as its configuration describes it. It opens nothing.
type registry struct {
	storage storage.Module
	// local is the directory with the control socket.
	local  string
	stores store.Settings
	limits quota.Limits
	// verifyRate is the read rate of a verification; 0: verify.DefaultRate.
	verifyRate int64
	keys       running.KeyLimits
	// admins is nil if no configuration was read, or its policy is invalid.
	admins *admins.Roster
}

// find reads the parts of the configuration that concern the storage: secrets in other parts
// are not resolved.
func (l *location) find() (*registry, error) {
	app, err := l.app()
	if err != nil {
		return nil, err
	}
	collection, err := app.GC.Collection()
	if err != nil {
		return nil, fmt.Errorf("gc: %w", err)
	}
	limits, err := app.Limits.Quota()
	if err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	verifying, err := app.Verify.Settings()
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	module, err := app.Storage(ctx)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	reachable, ok := module.(storage.Located)
	if !ok {
		return nil, fmt.Errorf("storage %s cannot be reached by commands", module.Key())
	}
	// Opening would create it, and then report that it is clean.
	if err := whileStarting(ctx, func() error { return dir.Made(reachable.Local()) }); errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("storage %s: run the command as the user that the registry runs as: %w", reachable.Local(), err)
	} else if err != nil {
		return nil, fmt.Errorf("there is no storage in %s; is it another directory, or was no registry started with it yet? %w", reachable.Local(), err)
	}
	found := &registry{module, reachable.Local(), collection.Settings(), limits, verifying.Rate, app.KeyLimits(), nil}
	if l.storage == "" {
		// A command that disables a user uses it for a warning, and works without it.
		found.admins, _ = rosterOf(app)
	}
	return found, nil
}

// rosterOf returns the administrators according to the configuration.
func rosterOf(registry *config.Registry) (*admins.Roster, error) {
	site, err := registry.Site()
	if err != nil {
		return nil, err
	}
	rules, err := registry.Rules(site)
	if err != nil {
		return nil, err
	}
	return registry.Roster(policies.NewRules(rules...)), nil
}

// appAndSites is the app `oci` and the sites that serve it; a storage alone has none.
func (l *location) appAndSites() (*config.Registry, []sites.Site, error) {
	app, err := l.app()
	if err != nil || l.storage != "" {
		return app, nil, err
	}
	found, err := sites.Read(l.document)
	return app, found, err
}

// app is the configuration of the app `oci`, not provisioned.
func (l *location) app() (*config.Registry, error) {
	app := new(config.Registry)
	if l.storage != "" {
		app.StorageRaw = caddyconfig.JSONModuleObject(storage.File{Path: l.storage}, "module", "file", nil)
		return app, nil
	}
	if l.document == nil {
		var err error
		if l.document, l.name, err = l.loadQuietly(); err != nil {
			return nil, err
		}
	}
	if len(l.document) == 0 {
		return nil, errors.New("there is no ./Caddyfile; name the configuration with --config, or the storage with --storage")
	}
	var config struct {
		Apps struct {
			OCI *config.Registry `json:"oci"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(l.document, &config); err != nil {
		return nil, fmt.Errorf("read %s: %w", l.name, err)
	}
	if config.Apps.OCI != nil {
		app = config.Apps.OCI
	}
	return app, nil
}

// loadQuietly reads a configuration and writes only warnings and errors to the standard
// error, as plain lines.
func (l *location) loadQuietly() (document []byte, name string, err error) {
	stderr := io.Writer(os.Stderr)
	if l.stderr != nil {
		stderr = l.stderr()
	}
	_, standard, held := caddy.BufferedLog()
	defer caddy.UnbufferDefaultLogger(standard)
	defer held.FlushTo(console.Logger(stderr))
	document, name, _, err = caddycmd.LoadConfig(l.config, l.adapter)
	return document, name, err
}
