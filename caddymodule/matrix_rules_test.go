package caddymodule_test

import (
	"net/http"
	"slices"
	"strings"
)

// matrixPolicy is what the rules below are about: everybody reads team and the mirrors,
// a workload reads and creates everywhere and lets mirrors fetch, an admin does all.
const matrixPolicy = `policy {
	allow anonymous read on team/** quay.io/** docker.io/**
	allow group artifact-workloads read fetch create
	allow group admins *
}`

// tier is what the policy allows somebody.
type tier struct {
	known   bool
	actions []string // everywhere, beside what everybody may
	only    string   // the one repository that the credential is good for, and actions there
}

var (
	tierNobody   = tier{}
	tierPerson   = tier{known: true}
	tierWorkload = tier{known: true, actions: []string{"read", "fetch", "create"}}
	tierAdmin    = tier{known: true, actions: []string{"read", "fetch", "create", "update", "delete", "reveal", "admin"}}
	tierNarrowed = tier{known: true, actions: []string{"read", "create"}, only: "team/app"}
)

// may is the policy in words.
func (t tier) may(action, repo string) bool {
	if t.only != "" && (repo != t.only || !slices.Contains(t.actions, action)) {
		return false
	}
	if slices.Contains(t.actions, action) {
		return true
	}
	return action == "read" && !strings.HasPrefix(repo, "secret/")
}

// matrixCaller is somebody, by what they present.
type matrixCaller struct {
	name string
	tier tier
	// presents a credential that is more than an anonymous token; good says that it is
	// one; strange, that it is of no kind that there is here; bearer, how it is sent.
	presents, good, strange, bearer bool
	// silent says nothing at all, not even that it is nobody.
	silent bool
	// certificate is presented to TLS, so only where there is TLS.
	certificate bool
	// tokenOnly is good at /token. user is the name beside the secret, if one is needed.
	tokenOnly bool
	user      string
}

var matrixCallers = []matrixCaller{
	{name: "anonymous", silent: true, good: true},
	{name: "anonymous by an empty user", good: true},
	{name: "anonymous token", good: true, bearer: true},
	{name: "signed in without groups", tier: tierPerson, presents: true, good: true},
	{name: "workload", tier: tierWorkload, presents: true, good: true},
	{name: "workload, key as Bearer", tier: tierWorkload, presents: true, good: true, bearer: true},
	{name: "workload, registry token", tier: tierWorkload, presents: true, good: true, bearer: true},
	{name: "workload, registry token as password", tier: tierWorkload, presents: true, good: true},
	{name: "admin", tier: tierAdmin, presents: true, good: true},
	{name: "narrowed key", tier: tierNarrowed, presents: true, good: true},
	{name: "job's token", tier: tierWorkload, presents: true, good: true, bearer: true},
	{name: "job's token as password", tier: tierWorkload, presents: true, good: true},
	{name: "token of another branch's job", presents: true, bearer: true},
	{name: "local user's registry token", tier: tierAdmin, presents: true, good: true, bearer: true},
	// The password itself is good at /token, and nowhere else.
	{name: "local user's password", presents: true, strange: true, tokenOnly: true, user: "ada"},
	{name: "certificate", tier: tierWorkload, presents: true, good: true, certificate: true},
	{name: "certificate, and a wrong password", presents: true, strange: true, certificate: true},
	{name: "expired key", presents: true},
	{name: "revoked key", presents: true, bearer: true},
	{name: "registry token of a revoked key", presents: true, bearer: true},
	{name: "key of a disabled user", presents: true},
	{name: "wrong password", presents: true, strange: true},
	{name: "wrong Bearer", presents: true, strange: true, bearer: true},
}

// matrixSite is where the request comes in.
type matrixSite struct {
	name                      string
	takes, readOnly, fallback bool
	options                   string
	remote                    bool // over plain HTTP from another machine
	tls                       bool
}

var matrixSites = []matrixSite{
	{name: "loopback", takes: true},
	{name: "plain HTTP", remote: true},
	{name: "read_only", readOnly: true, options: "read_only"},
	{name: "fallback", takes: true, fallback: true, options: "fallback docker.io"},
	{name: "HTTPS", takes: true, tls: true},
}

// matrixRepo is a kind of repository. A name with # is another repository in each cell.
type matrixRepo struct {
	name      string
	canonical string // default: name
	mirror    bool
	held      bool // there; of a mirror: here
	upstream  bool // the mirror's upstream has it
	hidden    bool // and shows it to our credentials alone
	fallback  bool // written without its mirror, on a site with a fallback
	unclaimed bool
	once      bool // looked at on the first site only: what is special about it is not the site's
}

var matrixRepos = []matrixRepo{
	{name: "team/app", held: true},
	{name: "secret/app", held: true},
	{name: "team/none#", once: true},
	{name: "secret/none#"},
	{name: "quay.io/team/held", mirror: true, held: true, upstream: true},
	{name: "quay.io/team/new#", mirror: true, upstream: true},
	{name: "quay.io/team/none#", mirror: true, once: true},
	// The upstream is asked with credentials.
	{name: "docker.io/public/new#", mirror: true, upstream: true, once: true},
	{name: "docker.io/hidden/held", mirror: true, held: true, upstream: true, hidden: true},
	{name: "docker.io/hidden/new#", mirror: true, upstream: true, hidden: true, once: true},
	{name: "elsewhere/app", unclaimed: true},
	{name: "public/held", canonical: "docker.io/public/held", mirror: true, held: true, upstream: true, fallback: true},
	{name: "public/new#", canonical: "docker.io/public/new#", mirror: true, upstream: true, fallback: true},
	{name: "hidden/held", canonical: "docker.io/hidden/held", mirror: true, held: true, upstream: true, hidden: true,
		fallback: true},
}

func (r matrixRepo) repo() string {
	if r.canonical != "" {
		return r.canonical
	}
	return r.name
}

// matrixAnswer is what a client is told. codes are divided by |; empty: not looked at.
type matrixAnswer struct {
	status int
	codes  string
	// scope and badToken are of the challenge of a 401.
	scope    string
	badToken bool
}

// matrixAnswers has the answer to each request of each caller.
func matrixAnswers(e matrixEndpoint, c matrixCaller, r matrixRepo, s matrixSite) matrixAnswer {
	who, scope := c.tier, e.scope(r)
	challenge := matrixAnswer{http.StatusUnauthorized, "UNAUTHORIZED", scope, false}
	unknown := matrixAnswer{status: http.StatusNotFound, codes: "NAME_UNKNOWN"}
	denied := matrixAnswer{status: http.StatusForbidden, codes: "DENIED"}

	// A read of a name that nobody claims ends before anybody looks who is asking.
	unclaimed := e.named() && r.unclaimed
	if unclaimed && !e.writes {
		return unknown
	}
	if c.presents && (!s.takes || !c.good) {
		// Docker sends its mirror the credentials of Docker Hub. Where none are taken
		// a credential of ours is refused nevertheless, and never ignored.
		if !(s.fallback && c.strange && r.fallback && e.named() && !e.writes) {
			challenge.badToken = c.bearer
			return challenge
		}
		who = tierNobody
	}
	switch {
	case unclaimed:
		return denied // and the audit names the caller
	case e.ping && c.silent:
		return challenge
	case e.ping, e.catalog:
		return matrixAnswer{status: http.StatusOK}
	case s.readOnly && e.writes:
		return denied
	}
	// Docker drops a mirror that answers 401.
	anonymous := challenge
	if r.fallback {
		anonymous = unknown
	}
	switch may := who.may(e.action, r.repo()); {
	case !may && !who.known:
		return anonymous
	case !may && !who.may("read", r.repo()):
		return unknown
	case !may:
		return denied
	case r.mirror && e.action == "create":
		return denied // mirrors take no pushes
	case r.hidden && e.action == "read" && !who.may("reveal", r.repo()) && (r.held || who.may("fetch", r.repo())):
		if e.missing != "" && !r.held {
			return matrixAnswer{status: http.StatusNotFound,
				codes: "NAME_UNKNOWN|" + e.missing} // not even our credentials are shown it
		}
		if who.known {
			return unknown
		}
		return anonymous
	case r.mirror && (!r.held || e.missing != "") && e.action == "read" && !who.may("fetch", r.repo()):
		// A repository that was never asked for is as any other that is not held.
		if who.known {
			return denied
		}
		return anonymous
	}
	return e.outcome(r, who)
}

// matrixEndpoint is one form of a request.
type matrixEndpoint struct {
	name, method, path string // path below /v2/<name>/, with {…} for what the cell has
	action             string // read, create or delete
	writes             bool   // is a write, or belongs to one
	ping, catalog      bool
	// ok is the status when nothing stands against it; missing is the code when the
	// repository is there and this is not; absent is the status for a missing
	// repository, if it is not 404.
	ok              int
	missing         string
	absent          int
	needs, body     string // of the cell: see matrix.prepare
	update, mounted string // another tag's right; whose blob is mounted
	inUse           bool   // deletes a blob that a mirror's manifest names
	list            bool   // of tags: the upstream of this test has one of any name, perhaps empty
}

func (e matrixEndpoint) named() bool { return !e.ping && !e.catalog }

// scope is what a client has to ask for.
func (e matrixEndpoint) scope(r matrixRepo) string {
	switch {
	case e.ping:
		return ""
	case e.catalog:
		return "registry:catalog:*"
	case e.method == "DELETE" && e.action == "delete":
		return "repository:" + r.name + ":delete"
	case e.writes:
		return "repository:" + r.name + ":pull,push"
	}
	return "repository:" + r.name + ":pull"
}

// outcome is the answer when nobody stands against it.
func (e matrixEndpoint) outcome(r matrixRepo, who tier) matrixAnswer {
	there := r.held || r.upstream && e.action == "read"
	switch {
	case e.mounted != "" && !who.may("read", e.mounted):
		return matrixAnswer{status: http.StatusAccepted}
	case !there && r.mirror && e.list:
		return matrixAnswer{status: http.StatusOK}
	case !there && e.absent != 0:
		return matrixAnswer{status: e.absent}
	case !there && r.mirror:
		// Of a mirror's repository nobody knows whether it is the repository or what is
		// in it that is missing.
		return matrixAnswer{status: http.StatusNotFound, codes: "NAME_UNKNOWN|" + e.code()}
	case !there && e.needs == "upload":
		return matrixAnswer{status: http.StatusNotFound, codes: "BLOB_UPLOAD_UNKNOWN"}
	case !there:
		return matrixAnswer{status: http.StatusNotFound, codes: "NAME_UNKNOWN"}
	case e.missing != "":
		return matrixAnswer{status: http.StatusNotFound, codes: e.missing}
	case e.update != "" && !who.may("update", r.repo()):
		return matrixAnswer{status: http.StatusForbidden, codes: "DENIED"}
	case e.inUse && r.mirror:
		return matrixAnswer{status: http.StatusMethodNotAllowed, codes: "UNSUPPORTED"}
	}
	return matrixAnswer{status: e.ok}
}

// code is what an endpoint misses.
func (e matrixEndpoint) code() string {
	switch {
	case strings.HasPrefix(e.path, "blobs/"):
		return "BLOB_UNKNOWN"
	case strings.HasPrefix(e.path, "manifests/"):
		return "MANIFEST_UNKNOWN"
	}
	return "NAME_UNKNOWN"
}

// matrixEndpoints are end-1 to end-14 of the specification, and the catalog.
var matrixEndpoints = []matrixEndpoint{
	{name: "end-1", method: "GET", ping: true},
	{name: "end-1", method: "HEAD", ping: true},
	{name: "catalog", method: "GET", path: "_catalog", catalog: true},
	{name: "catalog", method: "HEAD", path: "_catalog", catalog: true},
	{name: "catalog, a page", method: "GET", path: "_catalog?n=1", catalog: true},

	{name: "end-2", method: "GET", path: "blobs/{blob}", action: "read", ok: 200},
	{name: "end-2", method: "HEAD", path: "blobs/{blob}", action: "read", ok: 200},
	{name: "end-2, missing", method: "GET", path: "blobs/{nothing}", action: "read", missing: "BLOB_UNKNOWN"},
	{name: "end-2, missing", method: "HEAD", path: "blobs/{nothing}", action: "read", missing: "BLOB_UNKNOWN"},
	{name: "end-3, tag", method: "GET", path: "manifests/v1", action: "read", ok: 200},
	{name: "end-3, tag", method: "HEAD", path: "manifests/v1", action: "read", ok: 200},
	{name: "end-3, digest", method: "GET", path: "manifests/{manifest}", action: "read", ok: 200},
	{name: "end-3, digest", method: "HEAD", path: "manifests/{manifest}", action: "read", ok: 200},
	{name: "end-3, missing tag", method: "GET", path: "manifests/{missing}", action: "read",
		missing: "MANIFEST_UNKNOWN"},
	{name: "end-3, missing digest", method: "HEAD", path: "manifests/{nothing}", action: "read",
		missing: "MANIFEST_UNKNOWN"},

	{name: "end-4a", method: "POST", path: "blobs/uploads/", action: "create", writes: true, ok: 202, absent: 202},
	{name: "end-4b", method: "POST", path: "blobs/uploads/?digest={new}", body: "{new}", action: "create", writes: true,
		ok: 201, absent: 201},
	{name: "end-4c", method: "POST", path: "blobs/uploads/?digest-algorithm=sha512", action: "create", writes: true,
		ok: 202, absent: 202},
	{name: "end-5", method: "PATCH", path: "blobs/uploads/{upload}", body: "{new}", needs: "upload", action: "create",
		writes: true, ok: 202},
	{name: "end-6", method: "PUT", path: "blobs/uploads/{upload}?digest={new}", body: "{new}", needs: "upload",
		action: "create", writes: true, ok: 201},
	{name: "end-7a, new tag", method: "PUT", path: "manifests/{tag}", body: "{index}", action: "create", writes: true,
		ok: 201, absent: 201},
	{name: "end-7a, tag that exists", method: "PUT", path: "manifests/{old}", body: "{index}", needs: "old",
		update: "update", action: "create", writes: true, ok: 201, absent: 201},
	{name: "end-7a, digest", method: "PUT", path: "manifests/{pushed}", body: "{index}", action: "create", writes: true,
		ok: 201, absent: 201},
	{name: "end-7b", method: "PUT", path: "manifests/{pushed}?tag={tag}", body: "{index}", action: "create",
		writes: true, ok: 201, absent: 201},
	{name: "end-7b, tag that exists", method: "PUT", path: "manifests/{pushed}?tag={old}", body: "{index}",
		needs: "old", update: "update", action: "create", writes: true, ok: 201, absent: 201},

	{name: "end-8a", method: "GET", path: "tags/list", action: "read", ok: 200, list: true},
	{name: "end-8a", method: "HEAD", path: "tags/list", action: "read", ok: 200, list: true},
	{name: "end-8b", method: "GET", path: "tags/list?n=1", action: "read", ok: 200, list: true},
	{name: "end-9, tag", method: "DELETE", path: "manifests/{old}", needs: "old", action: "delete",
		writes: true, ok: 202},
	{name: "end-9, digest", method: "DELETE", path: "manifests/{gone}", needs: "old", action: "delete",
		writes: true, ok: 202},
	{name: "end-9, missing tag", method: "DELETE", path: "manifests/{missing}", action: "delete", writes: true,
		missing: "MANIFEST_UNKNOWN"},
	{name: "end-10", method: "DELETE", path: "blobs/{loose}", needs: "loose", action: "delete", writes: true,
		ok: 202, inUse: true},
	{name: "end-10, missing", method: "DELETE", path: "blobs/{nothing}", action: "delete", writes: true,
		missing: "BLOB_UNKNOWN"},

	{name: "end-11", method: "POST", path: "blobs/uploads/?mount={mount}&from=team/app", mounted: "team/app",
		action: "create", writes: true, ok: 201, absent: 201},
	{name: "end-11, from a secret", method: "POST", path: "blobs/uploads/?mount={mount}&from=secret/app",
		mounted: "secret/app", action: "create", writes: true, ok: 201, absent: 201},
	{name: "end-11, from nowhere", method: "POST", path: "blobs/uploads/?mount={nothing}&from=team/nowhere",
		action: "create", writes: true, ok: 202, absent: 202},
	{name: "end-11, without from", method: "POST", path: "blobs/uploads/?mount={mount}", mounted: "secret/app",
		action: "create", writes: true, ok: 201, absent: 201},
	{name: "end-12a", method: "GET", path: "referrers/{manifest}", action: "read", ok: 200, absent: 200},
	{name: "end-12a", method: "HEAD", path: "referrers/{manifest}", action: "read", ok: 200, absent: 200},
	{name: "end-12b", method: "GET", path: "referrers/{manifest}?artifactType=a/b", action: "read",
		ok: 200, absent: 200},
	{name: "end-13", method: "GET", path: "blobs/uploads/{upload}", needs: "upload", action: "create",
		writes: true, ok: 204},
	{name: "end-13", method: "HEAD", path: "blobs/uploads/{upload}", needs: "upload", action: "create",
		writes: true, ok: 204},
	{name: "end-14", method: "DELETE", path: "blobs/uploads/{upload}", needs: "upload", action: "create",
		writes: true, ok: 204},
}
