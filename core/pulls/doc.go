// Package pulls remembers when each manifest was last pulled, over a bucket.
//
// A pull costs one entry in memory; nothing is written on a request's path. What has
// gathered is written behind, one object a repository, so a killed process loses less
// than a minute of statistics. It counts nothing and decides nothing: eviction asks
// it what was pulled longest ago.
//
//	times := pulls.New(pulls.Config{Bucket: b, Prefix: "pulls/"})
//	defer times.Close()
//	times.Mark("docker.io/library/nginx", d)
//	last, err := times.Of(ctx, "docker.io/library/nginx") // last[d]
package pulls
