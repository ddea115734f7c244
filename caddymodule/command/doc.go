// Package command has the commands `caddy-registry registry …`, one file for each: it registers
// them at Caddy's command line and exports nothing.
//
//	registry.go   the command itself, its exit status, and what all subcommands share
//	location.go   how the command line names the registry: a configuration or a storage
//	ask.go        asks the process that has the storage open, or opens it here
//	wait.go       waits for a process that starts
//	confirm.go    asks the person at a terminal
//
// A command reads only the parts of the configuration that it needs, and resolves only the
// secrets that it uses. Package running does the work on a storage, in the serving process or
// in this one, so both behave in the same way.
package command
