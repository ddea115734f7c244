package api

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/eblume/caddy-registry/core"
)

const (
	// defaultRows and maxRows bound the rows of an answer. A row has at most some 20 KB, with 64
	// platforms and the longest annotations, and usually 500 bytes.
	defaultRows, maxRows = 50, 500
	// maxRead bounds the rows that a request reads for a filter: about half a second.
	maxRead = 100_000
	// maxLooked bounds the tags that a request looks up in as many repositories.
	maxLooked = 1000
	// checkEvery is how many rows are read between two looks at whether the client is still there.
	checkEvery = 256
	// maxSearch bounds a search, in bytes: the longest is a name and a digest.
	maxSearch = core.MaxNameLength + 1 + 7 + 128
)

// rowLimit returns the parameter n.
func (e *exchange) rowLimit() (int, error) {
	text := e.query["n"]
	if text == "" {
		return defaultRows, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxRows {
		return 0, invalid("n is a number from 1 to %d", maxRows)
	}
	return n, nil
}

// errEnough ends a list before the row for which it is returned.
var errEnough = errors.New("enough was read")

// collect returns rows of a list as show composes them, without those for which it returns false,
// and how the list continues. list begins behind a place.
func collect[R, T any](e *exchange, list func(after string) iter.Seq2[R, error], at func(R) string, show func(R) (T, bool, error)) (got []T, next Continuation, err error) {
	n, err := e.rowLimit()
	if err != nil {
		return nil, next, err
	}
	last, err := e.place()
	if err != nil {
		return nil, next, err
	}
	got = []T{}
	read := 0
	for row, err := range list(last) {
		if pause, ok := errors.AsType[*core.Pause](err); ok {
			last, err = pause.After, errEnough
		}
		if err == nil && (len(got) == n || read == maxRead) {
			err = errEnough
		}
		if read++; err == nil && read%checkEvery == 0 {
			err = e.r.Context().Err()
		}
		var shown T
		keep := false
		if err == nil {
			shown, keep, err = show(row)
		}
		if errors.Is(err, errEnough) {
			next.More, next.After = true, e.seal(last)
			break
		}
		if err != nil {
			return nil, next, err
		}
		if keep {
			got = append(got, shown)
		}
		last = at(row)
	}
	state, err := e.Registry.CatalogState(e.r.Context())
	next.Incomplete = !state.Whole
	return got, next, err
}

// filter is which repositories a search is about.
type filter struct {
	in, kind, name string // name: a part of it
}

func (e *exchange) filter(name string) (f filter, err error) {
	f = filter{in: e.query["in"], kind: e.query["kind"], name: strings.ToLower(name)}
	if f.in != "" {
		if _, err := core.ParseName(f.in); err != nil || strings.Contains(f.in, "/") {
			return f, invalid("in is the first component of names, such as team or docker.io")
		}
	}
	switch f.kind {
	case "", kindPrivate, kindMirror:
		return f, nil
	}
	return f, invalid("kind is %s or %s", kindPrivate, kindMirror)
}

const (
	kindPrivate = "private"
	kindMirror  = "mirror"
)

func (e *exchange) includes(f filter, repo string) bool {
	first, _, _ := strings.Cut(repo, "/")
	return strings.Contains(repo, f.name) && (f.in == "" || f.in == first) &&
		(f.kind == "" || (f.kind == kindMirror) == (e.Mirror(repo) != ""))
}

// search lists repositories, or what a search for a tag or a digest finds.
func (e *exchange) search() (any, error) {
	q := e.query["q"]
	if len(q) > maxSearch {
		return nil, invalid("q is longer than %d bytes", maxSearch)
	}
	name, digest, byDigest := strings.Cut(q, "@")
	if strings.HasPrefix(q, "sha256:") || strings.HasPrefix(q, "sha512:") {
		name, digest, byDigest = "", q, true
	}
	name, tag, byTag := strings.Cut(name, ":")
	f, err := e.filter(name)
	if err != nil {
		return nil, err
	}
	order := core.RepositoryOrder(e.query["order"])
	switch order {
	case "":
		order = core.RepositoriesByName
	case core.RepositoriesByName, core.RepositoriesByPush, core.RepositoriesByPull, core.RepositoriesBySize:
	default:
		return nil, invalid("order is name, push, pull or size")
	}
	switch {
	case byDigest:
		return e.holders(f, digest)
	case byTag:
		return e.tagged(f, order, tag)
	}
	rows, next, err := collect(e, e.repositoriesOf(f, order),
		func(row core.RepositoryRow) string { return row.At },
		func(row core.RepositoryRow) (Repository, bool, error) {
			return e.shownRepository(row), e.includes(f, row.Name), nil
		})
	return List{Repositories: rows, Continuation: next}, err
}

func (e *exchange) repositoriesOf(f filter, order core.RepositoryOrder) func(after string) iter.Seq2[core.RepositoryRow, error] {
	return func(after string) iter.Seq2[core.RepositoryRow, error] {
		return e.Registry.RepositoryRows(core.WithSought(e.r.Context(), f.name), f.in, order, after)
	}
}

// tagged lists the tags of this name in every repository that the filter includes.
func (e *exchange) tagged(f filter, order core.RepositoryOrder, tag string) (any, error) {
	tag, err := core.ParseTag(tag)
	if err != nil {
		return nil, err
	}
	looked := 0
	rows, next, err := collect(e, e.repositoriesOf(f, order),
		func(row core.RepositoryRow) string { return row.At },
		func(row core.RepositoryRow) (found Tag, ok bool, err error) {
			if !e.includes(f, row.Name) {
				return found, false, nil
			}
			if looked == maxLooked {
				return found, false, errEnough
			}
			looked++
			one, err := e.Registry.TagRow(e.r.Context(), row.Name, tag)
			if errors.Is(err, core.ErrManifestUnknown) || errors.Is(err, core.ErrNameUnknown) {
				return found, false, nil
			}
			found = shownTag(one)
			found.Repository = row.Name
			return found, true, err
		})
	return List{Tags: rows, Continuation: next}, err
}

// holders lists the content whose digest begins with prefix, and who holds it.
func (e *exchange) holders(f filter, prefix string) (any, error) {
	rows, next, err := collect(e, func(after string) iter.Seq2[core.ContentRow, error] {
		return e.Registry.ContentRows(e.r.Context(), strings.ToLower(prefix), after)
	}, func(row core.ContentRow) string { return row.At },
		func(row core.ContentRow) (Content, bool, error) {
			return shownContent(row), e.includes(f, row.Repo), nil
		})
	return List{Content: rows, Continuation: next}, err
}

// tags lists the tags of a repository that have a text in their name.
func (e *exchange) tags() (any, error) {
	order := core.TagOrder(e.query["order"])
	switch order {
	case "":
		order = core.TagsByVersion
	case core.TagsByVersion, core.TagsByPush, core.TagsByPull, core.TagsByName:
	default:
		return nil, invalid("order is version, push, pull or name")
	}
	part, err := e.part()
	if err != nil {
		return nil, err
	}
	rows, next, err := collect(e, func(after string) iter.Seq2[core.TagRow, error] {
		return e.Registry.TagRows(core.WithSought(e.r.Context(), part), e.repo, order, after)
	}, func(row core.TagRow) string { return row.At },
		func(row core.TagRow) (Tag, bool, error) {
			return shownTag(row), strings.Contains(row.Name, part), nil
		})
	return List{Tags: rows, Continuation: next}, err
}

// part is the text that the names of tags must have.
func (e *exchange) part() (string, error) {
	part := e.query["tag"]
	if len(part) > core.MaxTagLength {
		return "", invalid("tag is longer than %d bytes", core.MaxTagLength)
	}
	return part, nil
}

// offered lists the tags that the upstream of a mirror had when it was asked last.
func (e *exchange) offered() (any, error) {
	part, err := e.part()
	if err != nil {
		return nil, err
	}
	if e.Mirror(e.repo) == "" {
		if _, err := e.Registry.RepositoryRow(e.r.Context(), e.repo); err != nil {
			return nil, err // perhaps that the caller may not read it
		}
		return nil, fmt.Errorf("%w: %s is of no mirror", core.ErrNameUnknown, e.repo)
	}
	ctx, notes := core.WithNotes(core.WithLook(e.r.Context()))
	rows, next, err := collect(e, func(after string) iter.Seq2[string, error] { return e.Registry.Tags(ctx, e.repo, after) },
		func(tag string) string { return tag },
		func(tag string) (string, bool, error) { return tag, strings.Contains(tag, part), nil })
	next.Incomplete = false // it is what the upstream said
	return UpstreamAnswer{notes.AsOf().UTC(), rows, next}, err
}

// images lists the manifests of a repository.
func (e *exchange) images() (any, error) {
	rows, next, err := collect(e, func(after string) iter.Seq2[core.ImageRow, error] {
		return e.Registry.ImageRows(e.r.Context(), e.repo, after)
	}, func(row core.ImageRow) string { return row.At },
		func(row core.ImageRow) (*Image, bool, error) { return shownImage(row), true, nil })
	return List{Images: rows, Continuation: next}, err
}

// users lists the manifests of the repository that name content.
func (e *exchange) users() (any, error) {
	if _, err := e.Registry.RepositoryRow(e.r.Context(), e.repo); err != nil {
		return nil, err
	}
	rows, next, err := collect(e, func(after string) iter.Seq2[core.ContentRow, error] {
		return e.Registry.UserRows(e.r.Context(), e.repo, e.digest, after)
	}, func(row core.ContentRow) string { return row.At },
		func(row core.ContentRow) (Content, bool, error) { return shownContent(row), true, nil })
	return List{Users: rows, Continuation: next}, err
}
