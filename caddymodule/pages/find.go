package pages

import (
	"context"
	"errors"
	"iter"
	"net/url"
	"slices"
	"strings"

	"github.com/eblume/caddy-registry/core"
)

// query is what a visitor searches for: content by the beginning of its digest, or repositories
// whose names have all words, and perhaps a tag.
type query struct {
	digest string
	words  []string
	tag    string
}

const (
	// maxWords bounds the words of a query: each row is searched for each.
	maxWords = 8
	// maxLooked bounds the repositories in which a page looks for a tag.
	maxLooked = 1000
)

// bareDigits is from how many hexadecimal digits a word is taken for a digest.
const bareDigits = 12

// understand reads a query. A whole name, as clients write it, may have this registry's host.
func (s *Site) understand(text string) query {
	var q query
	text = strings.ToLower(strings.TrimPrefix(strings.TrimPrefix(text, "https://"), "docker://"))
	text = strings.TrimPrefix(text, strings.ToLower(s.Host)+"/")
	if _, behind, found := strings.Cut(text, "@"); found {
		text = behind
	}
	if strings.HasPrefix(text, "sha256:") || strings.HasPrefix(text, "sha512:") {
		q.digest = text
		return q
	}
	if len(text) >= bareDigits && strings.Trim(text, "0123456789abcdef") == "" {
		q.digest = "sha256:" + text
		return q
	}
	q.words = strings.Fields(text)
	q.words = q.words[:min(maxWords, len(q.words))]
	if len(q.words) == 1 {
		q.words[0], q.tag, _ = strings.Cut(q.words[0], ":")
	}
	return q
}

// matches reports whether a repository has all words: in its name, or in what its newest image says.
func (q query) matches(row core.RepositoryRow) bool {
	texts := strings.ToLower(strings.Join([]string{row.Name, row.Says.Title, row.Says.Description, row.Says.Source}, "\n"))
	return !slices.ContainsFunc(q.words, func(word string) bool { return !strings.Contains(texts, word) })
}

func isPause(err error) bool {
	var pause *core.Pause
	return errors.As(err, &pause)
}

// repositories finds the repositories of a page.
func (s *Site) repositories(ctx context.Context, p *listPage, q query, order core.RepositoryOrder, after string, grouped bool) error {
	tag := ""
	if _, written, found := strings.Cut(p.Query, ":"); found && q.tag != "" {
		tag = written // tags have capitals
		if at := strings.LastIndexByte(tag, ':'); at >= 0 {
			tag = tag[at+1:]
		}
	}
	p.Tag = tag
	_, err := core.ParseTag(tag)
	tagged := tag != "" && err == nil
	sought := ctx
	if len(q.words) > 0 { // one of them is enough to pass over most names
		sought = core.WithSoughtText(ctx, q.words[0])
	}
	rows := s.Registry.RepositoryRows(sought, p.In, order, after)
	looked := 0
	list, err := read(s, rows, func(row core.RepositoryRow) string { return row.At }, func(row core.RepositoryRow) bool {
		if _, ok := s.owner(row.Name); !ok || !q.matches(row) || p.Kind != "" && !ofKind(p.Kind, row.Says) {
			return false
		}
		if tagged {
			looked++
			_, err := s.Registry.TagRow(ctx, row.Name, tag)
			return err == nil
		}
		return true
	}, func() bool { return looked == maxLooked })
	if err != nil {
		return err
	}
	p.List = part[listed]{Passed: list.Passed, Next: list.Next, Short: list.Short}
	group := ""
	for _, row := range list.Rows {
		one := listed{RepositoryRow: row}
		if kind := kindOfTypes(row.Says.MediaType, row.Says.ArtifactType); kind != kindImage && kind != kindIndex {
			one.Kind = kind
		}
		one.Mirror, _ = s.owner(row.Name)
		if first, _, more := strings.Cut(row.Name, "/"); grouped && more && first != group {
			group = first
			one.Group, one.GroupAddress = first, "/images?"+url.Values{"in": {first}}.Encode()
		}
		p.List.Rows = append(p.List.Rows, one)
	}
	return nil
}

// contents finds content by the beginning of its digest, and who names it.
func (s *Site) contents(ctx context.Context, p *listPage, prefix, after string) (next string, err error) {
	list, err := read(s, s.Registry.ContentRows(ctx, prefix, after), func(row core.ContentRow) string { return row.At },
		func(row core.ContentRow) bool { _, ok := s.owner(row.Repo); return ok })
	if err != nil {
		return "", err
	}
	for _, row := range list.Rows {
		one := found{ContentRow: row, Kind: "Blob"}
		if row.Manifest {
			one.Kind = "Manifest"
		} else {
			for user, err := range limit(s.Registry.UserRows(ctx, row.Repo, row.Digest, ""), 3) {
				if err != nil {
					return "", err
				}
				one.Users = append(one.Users, user.Digest)
			}
		}
		p.Found = append(p.Found, one)
	}
	p.List.Short = list.Short
	return list.Next, nil
}

// limit yields at most n rows.
func limit[T any](rows iter.Seq2[T, error], n int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		i := 0
		for row, err := range rows {
			if i == n || !yield(row, err) {
				return
			}
			i++
		}
	}
}
