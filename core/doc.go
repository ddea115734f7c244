// Package core says what a registry is: the Registry interface and its roles, the
// values that travel through it, its errors, and the rules for names.
//
// It does no I/O and knows neither HTTP nor Caddy. A request becomes a value in
// core/wire, its name becomes canonical in core/namespace, what the caller may do
// is decided by policies.Guard, and the content is in core/store. Each of these is
// a Registry in front of another, so they compose:
//
//	guarded := policies.Guard(namespaces, policy, who)
//	wire.Serve(w, r, request, guarded)
//
// A wrapper embeds Unimplemented and forwards what it means to allow, so a method
// that is added later is refused until someone decides about it.
package core
