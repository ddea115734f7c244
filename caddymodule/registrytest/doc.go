// Package registrytest is what the tests of caddymodule share: they run a registry in the
// process of the test and ask it over HTTP, as its clients do.
//
// The one word for what a test sets up is "registry". A test runs a Registry, calls it r, and
// looks at statuses, headers and bytes:
//
//	r := registrytest.Serve(t, registrytest.FreePort(t), t.TempDir(), registrytest.AllowAll, "")
//	r.PushImage("team/app", "v1", registrytest.RandomBytes(1000))
//	r.Want(http.StatusOK, "GET", "/v2/team/app/manifests/v1", nil)
//
// A process runs one configuration at a time, so these tests do not run in parallel. Run gives
// the commands of `registry` to this process; Start and Command make a process of their own
// from the test binary, and need Main in the package's TestMain.
//
// It does not import the package caddymodule. Its users do, which registers the modules that
// their configurations name. Only tests import it.
package registrytest
