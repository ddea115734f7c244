// Package caddymodule connects the registry to Caddy: it turns configuration into the
// parts of core and policies, and a request into one call of core/wire.
//
//	app.go         the app `oci`: configuration, and what happens on load
//	caddyfile.go   its global option
//	handler.go     the directive `oci_registry`: the path of a request
//	storage/       where content is kept: guest modules, oci.storage.*
//	running/       the open storages, with everything that survives a reload
//	gc.go          the collector's settings
//	mirror*.go     the mirrors: options, names, secrets
//	cache.go       which cache is kept beside it: guest modules of the room cache
//	policy.go      who may do what
//	who.go         who asks, the challenge, and the token endpoint of a site
//	signin.go      the providers of the process, and the pages of a site
//	password.go    what the login page asks about a password
//	authenticators/  how callers prove who they are: blocks, and guest modules
//	audit.go       what of a request is audited, by package observe
//	pieces.go      how much of an answer is sent at once
//	health.go      who learns what /readyz says about a storage
//	location.go    how the user of a command names the registry
//	command*.go    `caddy-registry registry …`, one file for each subcommand
//	doctor/checks/ what the doctor looks at
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
