// Package overview decides what a caller sees of the registry itself: of the events, of the mirrors and
// of the storage. Pages and the JSON API show the same from it.
//
//	v := &overview.Viewer{Source: running, Registry: guarded, Policy: policy, Who: who, …}
//	for e, err := range v.Activity(ctx, events.Query{Repo: "team/app"}, "") { … }
//	all := v.All()
//
// It asks no upstream and lists no bucket: a Source answers from memory and from the files of package
// events and package hours. What a caller may not read is left out, also of sums. Names of people are
// for callers who are signed in, and credentials and addresses for administrators.
package overview
