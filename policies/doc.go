// Package policies decides who may do what in which repository.
//
// It wraps the Registry and not the URL: a mount touches two repositories, and a
// catalog is filtered inside its iteration, and a gate in front of the URL sees
// neither. A decision is made before existence is looked at, so that an answer
// never tells a stranger what is there:
//
//	anonymous, may not                 core.ErrUnauthorized
//	known, may not even read           core.ErrNameUnknown
//	known, may read, may not write     core.ErrDenied, with the reason
//
// What only a deeper layer can apply (may this caller let a mirror download)
// travels down as core.Access. The package does not find out who is asking, and
// knows no HTTP:
//
//	guarded := policies.Guard(registry, policies.Everybody(policies.Read), who)
package policies
