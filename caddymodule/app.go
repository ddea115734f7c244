package caddymodule

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/eblume/caddy-registry/caddymodule/admins"
	"github.com/eblume/caddy-registry/caddymodule/cache"
	_ "github.com/eblume/caddy-registry/caddymodule/command" // registers the commands
	"github.com/eblume/caddy-registry/caddymodule/config"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/core/evict"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/verify"
	"github.com/eblume/caddy-registry/policies"
)

func init() {
	caddy.RegisterModule(App{})
}

// App is the registry: what it keeps, where, and who may do what. The directive
// `oci_registry` serves it on any number of sites.
type App struct {
	config.Registry

	authenticators []identity.Authenticator

	log        *slog.Logger
	storage    *running.Storage
	site       namespace.Site
	audit      observe.Audit
	strangers  *observe.Strangers // in the audit's refused writes
	refused    *observe.Strangers // in its refused logins
	policy     policies.Policy
	rules      []policies.Rule // of policy
	admins     *admins.Roster
	collection config.Collection
	settings   *running.Settings // since Start
	minFree    evict.MinFree
	verify     verify.Settings
	cache      cache.Module
	closeCache func() error // what Start opened of cache, or nil
	life       caddy.Context
	// specs are the mirrors with their secrets, resolved once: on Start, or on the
	// first request.
	specs   func() ([]running.MirrorSpec, error)
	joined  *atomic.Pointer[joined]
	signIn  signInConfig
	servers map[*caddyhttp.Server]struct{} // that serve this configuration
	// locals are LocalUsers with their hashes, resolved once.
	locals func() (*identity.Locals, error)
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "oci",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision reads the configuration. It opens and creates nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.life = ctx
	a.log = ctx.Slogger()
	if err := a.provisionAudit(ctx); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if err := a.audit.On("stopping", exitGrace{ctx, a.log}); err != nil {
		return err
	}
	if err := a.audit.On("started", sayWelcome{a}); err != nil {
		return err
	}
	site, err := a.Site()
	if err != nil {
		return err
	}
	a.site, a.joined = site, new(atomic.Pointer[joined])
	a.specs = sync.OnceValues(func() ([]running.MirrorSpec, error) { return a.MirrorSpecs(site.Private) })
	rules, err := a.Rules(site)
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	for _, rule := range policies.Blind(rules) {
		a.log.Warn("rule allows to create where nothing allows to read: what is pushed cannot be pulled, and clients that look before they push fail",
			"rule", rule.String(), "line", rule.Line)
	}
	a.policy, a.rules = policies.NewRules(rules...).Mirrors(site.Mirrors, a.Concealing()), rules
	a.admins = a.Roster(a.policy)
	if a.collection, err = a.GC.Collection(); err != nil {
		return fmt.Errorf("gc: %w", err)
	}
	if a.verify, err = a.Verify.Settings(); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if _, err := a.Limits.Quota(); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	if err := a.APIKeys.Check(); err != nil {
		return fmt.Errorf("api_keys: %w", err)
	}
	if a.authenticators, err = a.Authenticators(ctx); err != nil {
		return fmt.Errorf("authenticators: %w", err)
	}
	a.warnOfImpossibleRules()
	if err := a.LocalUsers.Check(); err != nil {
		return err
	}
	a.locals = sync.OnceValues(func() (*identity.Locals, error) { return a.LocalUsers.Resolve(a.storage.Passwords) })
	if a.minFree, err = a.LeaveFree(); err != nil {
		return fmt.Errorf("min_free: %w", err)
	}
	if a.cache, err = a.Cache(ctx); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	if err := a.provisionSignIn(); err != nil {
		return fmt.Errorf("oidc: %w", err)
	}
	if err := a.provisionStorage(ctx); err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	if err := observe.Register(ctx.GetMetricsRegistry(), running.Collectors()...); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// provisionStorage finds the storage that the process has already, or a place for it.
func (a *App) provisionStorage(ctx caddy.Context) error {
	module, err := a.Storage(ctx)
	if err != nil {
		return err
	}
	if a.storage, err = running.Load(module, a.log); err == nil {
		a.audit = a.audit.Into(a.storage.Record)
	}
	return err
}

// Start opens the storage and the mirrors, unless a request did so before, and begins
// to collect. The settings of the last Start hold for all that share the storage.
func (a *App) Start() error {
	if err := a.checkAlone(); err != nil {
		return err
	}
	specs, err := a.specs()
	if err != nil {
		return err
	}
	signIn, err := a.signIn.spec()
	if err != nil {
		return err
	}
	if _, err := a.locals(); err != nil {
		return err
	}
	if _, err := a.acquire(a.life); err != nil {
		return err
	}
	a.warnOfPlainSites()
	a.warnOfIdleRules()
	a.warnOfMisspeltNames()
	a.warnOfNoAdmin()
	a.storage.Release()
	shared, err := a.openCache()
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	stores := a.collection.Settings()
	stores.CacheSize = a.cache.Memory() / 2
	limits, err := a.Limits.Quota()
	if err != nil {
		return err
	}
	a.settings = &running.Settings{
		Stores: stores, Limits: limits, Bounds: a.Bounds(a.minFree, a.collection), Verify: a.verify, Mirrors: specs,
		Owner: a.site.Owner, Audit: a.audit,
		Keys:   a.KeyLimits(),
		SignIn: signIn, Cache: shared, Public: a.public,
		Watch: a.audit.KeyChanged, WatchUsers: a.userChanged, Admins: a.admins,
	}
	a.storage.Configure(a.settings)
	go a.storage.CollectOn(a.life, a.collection.Schedule(), a.log)
	go a.storage.AnnounceKeys(a.life, func(key identity.Key) { a.audit.Key(observe.EventKeyExpiring, key, key.By) })
	go a.reportStrangers(a.life)
	return nil
}

// public reports whether everybody may read a repository, and so may know of it.
func (a *App) public(repo string) bool {
	return a.policy.Allows(policies.Identity{}, policies.Read, repo)
}

// Stop does nothing: requests that this configuration took are still served. The
// storage closes in Cleanup, and the collector ends with the configuration's context.
// See exitGrace for what ends requests when the process exits.
func (*App) Stop() error { return nil }

// Cleanup gives the storage back. It is called also when Provision did not succeed.
func (a *App) Cleanup() error {
	released := a.signIn.release()
	if a.storage == nil {
		return released
	}
	err := a.storage.Unload(a.settings)
	if a.closeCache != nil {
		err = errors.Join(err, a.closeCache())
	}
	return errors.Join(released, err)
}

var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
