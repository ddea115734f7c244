// Package config is what the operator writes about the registry: the global option oci, as a
// Caddyfile or as JSON, with its defaults and its checks.
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
// Nothing is opened here and nobody is asked. Secrets are resolved by MirrorSpecs and Client
// alone, so that a configuration is checked where its secrets are not.
package config
