// Package caddymodule connects the registry to Caddy: it turns configuration into the
// parts of core and policies, and a request into one call of core/wire.
//
//	app.go       the app `oci`: what happens on load
//	acquire.go   what a request opens
//	handler.go   the directive `oci_registry`; call.go: the path of a request
//	who.go       who asks, the challenge, and the token endpoint of a site
//	signin.go    the providers of the process, and the pages of a site
//	password.go  what the login page asks about a password
//	audit.go     what of a request is audited, by package observe
//	explain.go   what an error says to a caller
//	next.go      what is not the registry's
//	health.go    who learns what /readyz says about a storage
//	pieces.go    how much of an answer is sent at once
//	misspelt.go, policy_keys.go, plain.go, administrators.go   warnings about a configuration
//	alone.go, welcome.go, ending.go   the begin and the end of the process
//
// The rooms beside it: config (the block oci), storage, cache and authenticators (its guest
// modules), running (the open storages, with everything that survives a reload), observe
// (metrics and audit), doctor (what `registry doctor` reports), and command (the commands
// `caddy-registry registry …`).
//
// Two rules of Caddy shape it. Provision runs under `caddy validate` and while the
// old configuration still serves: it opens nothing and creates nothing. And apps
// start and stop in no order: the storage opens on Start or on the first request,
// whichever comes first, and closes when the last configuration that names it is
// cleaned up, so that a reload drops neither a push nor a pull.
//
// It decides nothing itself: who may do what is in policies, which name belongs to
// whom in core/namespace, what a request means in core/wire.
package caddymodule
