// Package authenticators is what the operator writes about how callers prove who they are:
// the guest modules oci.authenticators.*, and the blocks api_keys, oidc and local_user.
//
//	authenticators.AddOptions(options, &raw)       // the guest modules as Caddyfile options
//	others, err := authenticators.Join(modules)    // in the order in which they are asked
//
// ClientCert and TrustedIssuer verify what a request presents. The other types are
// configuration alone: Check refuses what cannot work and asks nobody, and what is secret is
// resolved when the registry starts. Examine is for the doctor.
//
// Package identity decides the order of the authenticators, and what each kind of credential
// may be used for.
package authenticators
