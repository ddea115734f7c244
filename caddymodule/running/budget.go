package running

import "github.com/eblume/caddy-registry/core/budget"

// Received bounds the manifests that this process receives at once, and Sent the large ones
// that it sends, for all configurations and storages: the memory is the process's.
var (
	Received = budget.New(budget.Manifests, budget.ManifestsEach)
	Sent     = budget.New(budget.Sent, budget.SentEach)
)
