// Package running holds the open storages of a process, with everything that survives a reload
// of the configuration.
//
//	s, err := running.Load(module, log) // Provision: names the storage, opens nothing
//	s.Configure(&settings)              // Start: those of the last Start hold
//	trees, err := s.Acquire(ctx)        // a request: opens the storage if it is not open
//	s.Release()
//	s.Unload(&settings)                 // Cleanup
//
// The first caller that needs a storage opens it. It is closed when no configuration names it
// and no request uses it any more. Commands reach it through its control socket; a command that
// finds no process opens the trees itself, with OpenTrees or CarryOut.
//
//	storage.go, settings.go, ending.go   opening, configuring, closing
//	trees.go, keeping.go, mirrors.go     images, content of mirrors, the open mirrors
//	callers.go, signin.go, identity.go   users, keys and sessions
//	background.go, collecting.go         background tasks
//	cache.go, budget.go                  the shared cache of mirrors, and the memory that requests share
//	commands.go, purge.go, importing.go, verify.go, condition.go, records.go   requests of commands
//	health.go, *_metrics.go              the state of the storage
//
// It decides nothing about rights, and reads no configuration.
package running
