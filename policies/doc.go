// Package policies decides who may do what in which repository.
//
// It wraps the Registry and not the URL: a mount touches two repositories, a
// catalog is filtered inside its iteration, and a gate in front of the URL sees
// neither. It decides before it looks for the content, so that an answer never
// reveals to a stranger what exists:
//
//	anonymous, may not                 core.ErrUnauthorized
//	known, may not even read           core.ErrNameUnknown
//	known, may read, may not write     core.ErrDenied, with the reason
//
// Decisions that only a deeper layer can apply (may this caller let a mirror
// download) travel down as core.Access. The package does not authenticate
// callers, and knows no HTTP:
//
//	guarded := policies.Guard(registry, policies.NewRules(rules...), who)
package policies
