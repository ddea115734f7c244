// Package download downloads blobs from an upstream into a store while any number of readers
// follow.
//
// A blob is downloaded once for all readers: the download belongs to the mirror, and continues
// without readers. Each reader is a Follower, which reads the growing upload at its own speed.
// Within one download, no reader gets the last missing byte, or a clean end, before the digest of
// the whole is verified. The next download, after one that failed, may keep another byte back.
//
// A reader of a range far ahead of the growing end does not wait for it. One bounded request at a
// time fetches the ranges of such readers ahead, into a scratch file from which the growing end
// takes the bytes later. See ahead. If a request fails, or is slow compared to the growing end,
// its readers wait for the growing end.
//
// It decides neither permissions nor the identity with which the upstream is asked: a Slot says
// which repositories share a download, and Source is all that it knows about a mirror.
//
//	all := download.New(download.Config{Name: "docker.io", Store: store, Source: mirror, Keeper: keeper, Log: log})
//	defer all.Close()
//	f := all.Start(ctx, "docker.io/library/nginx", download.Slot{Digest: d})
//	blob, err := f.Open()
package download
