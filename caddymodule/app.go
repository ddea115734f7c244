package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/eblume/caddy-registry/caddymodule/admins"
	"github.com/eblume/caddy-registry/caddymodule/authenticators"
	"github.com/eblume/caddy-registry/caddymodule/cache"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/core/evict"
	"github.com/eblume/caddy-registry/core/globs"
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
	// URL is the address under which people know this registry. Clients that name
	// it in `ns` mean this registry. Default: none; the host that a client called
	// always counts.
	URL string `json:"url,omitempty"`

	// Hostnames are further names of this registry, each a host, or a host and a
	// port. Default: none.
	Hostnames []string `json:"hostnames,omitempty"`

	// StorageRaw is where content is kept. Default: the directory ./data.
	StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=oci.storage inline_key=module"`

	// CacheRaw is what is kept beside the storage, to be fast. Default: memory, with
	// at most 256MiB.
	CacheRaw json.RawMessage `json:"cache,omitempty" caddy:"namespace=oci.cache inline_key=module"`

	// GC is what is collected, and when. Default: see GC.
	GC *GC `json:"gc,omitempty"`

	// Verify is how often what is stored is compared with its digest. Default: see Verify.
	Verify *Verify `json:"verify,omitempty"`

	// MinFree is what mirrors leave free on their disk: a percentage of it, which
	// counts as 50 GiB at most, or a size such as 10GiB. Below it they evict what was
	// pulled longest ago, and then keep no more. Default: 5%.
	MinFree string `json:"min_free,omitempty"`

	// Private are patterns for the names that this registry keeps itself, such as
	// team/**. A push to any other name is refused. Default: every name that no mirror
	// has.
	Private []string `json:"private,omitempty"`

	// Mirrors are the registries that are served from here, by their names in image
	// references, as docker.io. Default: none.
	Mirrors map[string]*Mirror `json:"mirror,omitempty"`

	// Policy is who may do what. Default: everybody may read and fetch, and nobody
	// may write.
	Policy *Policy `json:"policy,omitempty"`

	// Limits are what callers may take who may push or make keys. Default: see Limits.
	Limits *Limits `json:"limits,omitempty"`

	// APIKeys is what API keys are like. Default: see APIKeys.
	APIKeys *authenticators.APIKeys `json:"api_keys,omitempty"`

	// AuthenticatorsRaw verify credentials that are neither API keys nor registry
	// tokens, in their order. Default: none.
	AuthenticatorsRaw []json.RawMessage `json:"authenticators,omitempty" caddy:"namespace=oci.authenticators inline_key=module"`

	// OIDC is how people sign in. Default: nobody does, and there are no pages.
	OIDC *authenticators.OIDC `json:"oidc,omitempty"`

	// LocalUsers are people with a password that stands here as a hash. Default: none.
	LocalUsers authenticators.LocalUsers `json:"local_user,omitempty"`

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
	collection collection
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
	if err := a.provisionSite(); err != nil {
		return err
	}
	if err := a.provisionMirrors(); err != nil {
		return err
	}
	a.specs, a.joined = sync.OnceValues(a.resolveMirrors), new(atomic.Pointer[joined])
	rules, err := a.allRules()
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	for _, rule := range policies.Blind(rules) {
		a.log.Warn("rule allows to create where nothing allows to read: what is pushed cannot be pulled, and clients that look before they push fail",
			"rule", rule.String(), "line", rule.Line)
	}
	a.policy, a.rules = policies.NewRules(rules...), rules
	a.admins = a.roster()
	if a.collection, err = a.GC.collection(); err != nil {
		return fmt.Errorf("gc: %w", err)
	}
	if a.verify, err = a.Verify.settings(); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if _, err := a.Limits.quota(); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	if err := a.APIKeys.Check(); err != nil {
		return fmt.Errorf("api_keys: %w", err)
	}
	if err := a.provisionAuthenticators(ctx); err != nil {
		return fmt.Errorf("authenticators: %w", err)
	}
	a.warnOfImpossibleRules()
	if err := a.LocalUsers.Check(); err != nil {
		return err
	}
	a.locals = sync.OnceValues(func() (*identity.Locals, error) { return a.LocalUsers.Resolve(a.storage.Passwords) })
	if a.minFree, err = a.leaveFree(); err != nil {
		return fmt.Errorf("min_free: %w", err)
	}
	if err := a.provisionCache(ctx); err != nil {
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

// provisionSite gathers what names mean.
func (a *App) provisionSite() error {
	var hosts []string
	if a.URL != "" {
		u, err := url.Parse(a.URL)
		if err != nil {
			return fmt.Errorf("url: %w", err)
		}
		if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
			u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("url: %q is not like https://registry.example.com", a.URL)
		}
		hosts = append(hosts, namespace.CanonicalHost(u.Host))
	}
	for _, h := range a.Hostnames {
		if u, err := url.Parse("//" + h); err != nil || h == "" || u.Host != h {
			return fmt.Errorf("hostnames: %q is not a host, or a host and a port", h)
		}
		hosts = append(hosts, namespace.CanonicalHost(h))
	}
	private, err := globs.Parse(a.Private...)
	if err != nil {
		return fmt.Errorf("private: %w", err)
	}
	a.site = namespace.Site{Hosts: hosts, Private: private}
	return nil
}

// provisionStorage finds the storage that the process has already, or a place for it.
func (a *App) provisionStorage(ctx caddy.Context) error {
	module, err := a.loadStorage(ctx)
	if err != nil {
		return err
	}
	a.storage, err = running.Load(module, a.log)
	return err
}

// loadStorage makes the guest module that the configuration asks for.
func (a *App) loadStorage(ctx caddy.Context) (storage.Module, error) {
	if a.StorageRaw == nil {
		storage := new(storage.File)
		return storage, storage.Provision(ctx)
	}
	module, err := ctx.LoadModule(a, "StorageRaw")
	if err != nil {
		return nil, err
	}
	storage, ok := module.(storage.Module)
	if !ok {
		return nil, fmt.Errorf("%T is not a storage", module)
	}
	return storage, nil
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
	options := a.collection.options()
	options.CacheSize = a.cache.Memory() / 2
	limits, err := a.Limits.quota()
	if err != nil {
		return err
	}
	a.settings = &running.Settings{
		Options: options, Limits: limits, Bounds: a.bounds(), Verify: a.verify, Mirrors: specs,
		Keys:   a.keyLimits(),
		SignIn: signIn, Cache: shared, Public: a.public,
		Watch: a.audit.KeyChanged, WatchUsers: a.userChanged, Admins: a.admins,
	}
	a.storage.Configure(a.settings)
	go a.storage.CollectOn(a.life, a.collection.schedule())
	go a.storage.AnnounceKeys(a.life, func(key identity.Key) { a.audit.Key(observe.EventKeyExpiring, key, key.By) })
	go a.tellStrangers(a.life)
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
