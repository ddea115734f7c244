// Package control is how commands reach the process that has a storage open: a unix socket
// in the storage's directory, the orders that go over it, and the reports that come back.
//
//	socket, err := control.Listen(dir, commands) // in the process that serves
//	err := control.Ask(ctx, dir, "/gc", nil, &report) // in a command
//
// It carries nothing out: package running does, for the storage that it has open, and
// package command does where no process serves. The reports are also what the commands
// print with --json, so their JSON is stable: members may be added, and none changes.
//
//	POST /gc[?dry_run=true]    run the collector; answers a GCReport
//	POST /identity             an IdentityOrder; answers an IdentityReport
//	POST /purge?name=…         forget what a mirror holds; answers a PurgeReport
//	POST /verify[?repair=true][&repository=…]   answers a verify.Report
//	POST /import               an importing.Order; answers JSON lines, the last with the result
//	POST /export?name=…        answers an OCI image layout as a tar archive
//	POST /condition[?mirror=…] answers a Condition
//	GET, DELETE /api/…         answers as package api does, with everything allowed
//
// Any other status than 200 comes with an object whose member error is a
// sentence, except below /api/.
package control
