// Package pages shows people what the registry holds: a start page, lists, repositories, images.
//
//	site.go       addresses, who sees what, errors
//	start.go      /
//	list.go       /images
//	find.go       /images?q= with a digest or a name and a tag
//	repository.go /images/<repo>, and /images/<repo>:<tag>/-/history
//	image.go      /images/<repo>:<tag> and /images/<repo>@<digest>
//	act.go        what the visitor may do, and forms
//	delete.go     …/-/delete: what goes, and deleting that
//	back.go       …/-/back: a tag names again what it named
//	config.go     what an image's config says, and its history as a Dockerfile
//	layers.go     the bar of layers
//	refers.go     what refers to an image, and what it is
//	pull.go       lines that pull an image
//	rows.go       bounded lists, and the places where they go on
//	text.go       texts of images, which are hostile
//	show.go       sizes, times, links, addresses
//
// A page asks the Catalog of a guarded Registry, and reads manifests and configs by digest under
// core.WithLook. So it asks no upstream, counts no pull, and keeps nothing from the collector. It
// shows nothing that its visitor may not read, and answers for that as for what is not there.
//
// Pages are at most maxPage long and work without scripts. Each reads a bounded number of rows.
//
//	site := &pages.Site{Registry: guarded, Who: who, Host: r.Host, …}
//	if pages.Serves(r) { site.ServeHTTP(w, r) }
package pages
