package core

import "context"

// Admitter is a Registry that can refuse a push before its body is read, so that a
// server does not read the bytes of callers who may not write. Other registries refuse
// in the push itself.
type Admitter interface {
	// AdmitManifest returns the reason why the caller may not push any manifest to
	// repo. Errors: those of PutManifest that do not depend on the manifest.
	AdmitManifest(ctx context.Context, repo string) error
}

// AdmitManifest asks a registry that is an Admitter, and admits to any other.
func AdmitManifest(ctx context.Context, r Registry, repo string) error {
	if a, ok := r.(Admitter); ok {
		return a.AdmitManifest(ctx, repo)
	}
	return nil
}
