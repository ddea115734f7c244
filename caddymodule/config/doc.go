// Package config is the configuration of the registry: the global option oci, as a Caddyfile or
// as JSON, with its defaults and its checks.
//
//	site, err := registry.Site()        // what names mean; mirrors are checked
//	rules, err := registry.Rules(site)  // who may do what
//	module, err := registry.Storage(ctx)
//
//	registry.go, caddyfile.go   the block oci
//	modules.go                  its guest modules: storage, cache, authenticators
//	mirror*.go                  the block mirror: options, names, secrets
//	policy.go, gc.go, verify.go, limits.go   the blocks of these names
//
// The package opens no storage and makes no requests. Only MirrorSpecs and Client resolve
// secrets, so that a configuration can be checked on a machine without its secrets.
package config
