package core

import "context"

// Admitter is a Registry that can say before the body of a push is read what the push
// would say whatever the body is, so that no server reads the bytes of those who may not
// write. A registry without it is asked by the push alone.
type Admitter interface {
	// AdmitManifest reports what keeps the caller from pushing any manifest to repo.
	// Errors: those of PutManifest that do not depend on the manifest.
	AdmitManifest(ctx context.Context, repo string) error
}

// AdmitManifest asks a registry that is an Admitter, and admits to any other.
func AdmitManifest(ctx context.Context, r Registry, repo string) error {
	if a, ok := r.(Admitter); ok {
		return a.AdmitManifest(ctx, repo)
	}
	return nil
}
