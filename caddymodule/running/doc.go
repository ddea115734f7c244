// Package running is what a process has open: each storage, with everything in it that
// survives a reload of the configuration.
//
//	s, err := running.Load(module, log) // Provision: names the storage, opens nothing
//	s.Configure(&settings)              // Start: those of the last Start hold
//	trees, err := s.Acquire(ctx)        // a request: opens the storage if it is not open
//	s.Release()
//	s.Unload(&settings)                 // Cleanup
//
// A storage is opened by the first caller that needs it, and closed when no configuration
// names it and no request uses it any more. Commands reach it through its control socket; a
// command that finds no process opens the trees itself, with OpenTrees or CarryOut.
//
//	storage.go, settings.go, ending.go   opening, configuring, closing
//	trees.go, keeping.go, mirrors.go     images, what mirrors hold, the open mirrors
//	callers.go, signin.go, identity.go   who asks
//	background.go, collecting.go         what runs beside requests
//	cache.go, budget.go                  what mirrors share, and the memory that requests share
//	commands.go, purge.go, importing.go, verify.go, condition.go, records.go   what commands ask
//	health.go, *_metrics.go              how the storage is
//
// It decides nothing about rights, and reads no configuration.
package running
