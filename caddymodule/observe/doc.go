// Package observe is how the registry reports what it does: metrics, audit records with
// their events, and log lines that must not repeat themselves.
//
//	audit := observe.NewAudit(ctx, events)
//	registry = observe.Changes(registry, audit, observe.By(who, address))
//	observe.CountRequest(outcome, source, r.Method, begun)
//
// It decides nothing and stores nothing on disk. The counters belong to the process, and
// Register adds them to the metrics of each load. Package running collects the metrics that are
// read from the open storages at each scrape.
//
// Everything that requests can make grow has a bound: labels come from the configuration or
// from a fixed set, and Strangers, Logins and PlainSenders bound the records and lines that
// callers can cause, and the memory for that.
package observe
