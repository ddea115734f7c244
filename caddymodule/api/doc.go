// Package api answers requests below /api/ about what a registry holds, as JSON: repositories, tags,
// images, and who uses them. It also deletes tags and images. openapi.json describes every route.
//
// It answers from core.Catalog, package overview and lists that mirrors have kept: no content is read, no
// upstream is asked and no pull is counted. It decides nothing: its Registry is guarded for the caller, and
// each answer has what that shows. The keys, at /api/keys, are those of package web.
//
//	GET    /api/images                              repositories, or what a search finds
//	GET    /api/images/<repository>                 a repository
//	GET    /api/images/<repository>/-/tags          its tags
//	GET    /api/images/<repository>/-/upstream      the tags that a mirror's upstream had when it was asked last
//	GET    /api/images/<repository>/-/images        its manifests, the newest push first
//	GET    /api/images/<repository>:<tag>           what a tag names
//	GET    /api/images/<repository>:<tag>/-/history what it named before
//	GET    /api/images/<repository>@<digest>        a manifest
//	GET    /api/images/<repository>@<digest>/-/users  the manifests that name it
//	GET    /api/images/<repository>:<tag>/-/deletion     the plan of deleting what a tag names
//	GET    /api/images/<repository>@<digest>/-/deletion  the plan of deleting a manifest
//	DELETE /api/images/<repository>:<tag>           removes the tag; the manifest stays
//	DELETE /api/images/<repository>@<digest>        removes a manifest and the tags that name it
//	DELETE /api/images/<repository>@<digest>?plan=<key>  carries out the plan of that key
//	GET    /api/mirrors                             the mirrors, with sums of a day and 30 days
//	GET    /api/mirrors/<name>                      a mirror: hours, downloads, clients
//	GET    /api/activity                            what happened, the newest first
//	GET    /api/storage                             disks and what fills them, for administrators
//	GET    /api/state                               how much of what is held is described
//	GET    /api/openapi.json                        this API (OpenAPI 3)
//
// The plan of a deletion (package deletion) has what belongs to an image and goes with it. It is
// carried out by its key, and only if it is still the same; else that is 409, and nothing is deleted.
// Without a plan a manifest goes alone.
//
// Names of repositories are canonical, and their slashes are not escaped. No component of a name
// begins with "-", so "/-/" separates the name from a word.
//
// A list has at most n rows. It continues if `more` is true: then `after` is the parameter for the
// rest, and the list may have fewer rows than n, or none. An error is {"errors": [{"code",
// "message"}]}, as below /v2/.
package api
