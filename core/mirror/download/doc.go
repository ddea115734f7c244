// Package download brings blobs of an upstream into a store while any number of readers follow.
//
// A blob is downloaded once, whoever asks: the download belongs to the mirror, and goes on
// without readers. Each reader is a Follower, which reads the growing upload at its own speed.
// Within one download, no reader gets the last missing byte, or a clean end, before the digest of
// the whole is right. The next download, after one that failed, may keep another byte back.
//
// A reader of a range far ahead of the growing end does not wait for it: one bounded request at a
// time fetches ahead what such readers wait for, into a scratch file from which the growing end
// takes the bytes later. See ahead. A request that fails, or is slow beside the growing end, leaves
// its readers to that.
//
// It decides neither who may read what nor what the upstream is asked as: a Slot says who shares
// a download, and Source is all that it knows of a mirror.
//
//	all := download.New(download.Config{Name: "docker.io", Store: store, Source: mirror, Keeper: keeper, Log: log})
//	defer all.Close()
//	f := all.Start(ctx, "docker.io/library/nginx", download.Slot{Digest: d})
//	blob, err := f.Open()
package download
