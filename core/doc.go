// Package core defines a registry: the Registry interface and its roles, the
// values that travel through it, its errors, and the rules for names.
//
// It does no I/O and knows neither HTTP nor Caddy. core/wire turns a request into
// a value, core/namespace makes its name canonical, policies.Guard decides what
// the caller may do, and core/store holds the content. Each of these is a Registry
// in front of another, so they compose:
//
//	guarded := policies.Guard(namespaces, policy, who)
//	wire.Serve(w, r, request, guarded)
//
// A wrapper embeds Unimplemented and forwards only what it means to allow, so a
// method that is added later is refused until the wrapper allows it.
package core
