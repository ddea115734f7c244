package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// rule forbids a phrase in comments and string literals.
type rule struct {
	phrase *regexp.Regexp
	// except matches the end of the text before the phrase where it is good English.
	except *regexp.Regexp
	advice string
}

var rules = []rule{
	{
		phrase: regexp.MustCompile(`\bis here\s+twice\b`),
		advice: `write "duplicate …"`,
	},
	{
		phrase: regexp.MustCompile(`\bmore than\s+nothing\b`),
		advice: `write "positive", "not empty" or "not zero"`,
	},
	{
		phrase: regexp.MustCompile(`(?i)\bis\s+no\s+\w+(?:\s+than\b)?`),
		except: regexp.MustCompile(`(?i)\bthere(?:\s+\w+)?\s+$`),
		advice: `write "is not a …" or "has no …"`,
	},
}

// comparison matches what the rule about "no" finds, and which is good English.
var comparison = regexp.MustCompile(`(?i)\bno\s+(?:longer|\w+\s+than)$`)

// headless is the rule about the beginning of a comment.
var headless = rule{
	phrase: regexp.MustCompile(`^\s*(?:Who|Whoever|What|Whatever)\b`),
	advice: "begin with the name that it documents, or with an ordinary subject",
}

// finding is one place to rewrite.
type finding struct {
	file   string
	line   int
	text   string
	advice string
}

// String returns the line that an editor can jump to.
func (f finding) String() string {
	return fmt.Sprintf("%s:%d: %q: %s", f.file, f.line, f.text, f.advice)
}

// check returns the findings in one file, in order of their lines.
func check(file string, source []byte) (findings []finding, err error) {
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	line := func(pos token.Pos) int { return fset.Position(pos).Line }
	add := func(line int, text, advice string) {
		text = strings.Join(strings.Fields(text), " ")
		findings = append(findings, finding{file, line, text, advice})
	}
	phrases := func(t text) {
		whole := t.String()
		for _, r := range rules {
			for _, m := range r.phrase.FindAllStringIndex(whole, -1) {
				phrase := whole[m[0]:m[1]]
				if r.except != nil && r.except.MatchString(whole[:m[0]]) || comparison.MatchString(phrase) {
					continue
				}
				add(t.line(m[0], line), phrase, r.advice)
			}
		}
	}

	documented := documents(parsed)
	for _, group := range parsed.Comments {
		t := prose(group)
		phrases(t)
		if m := headless.phrase.FindStringIndex(t.String()); m != nil {
			first := strings.TrimSpace(t.String()[:m[1]])
			if !slices.Contains(documented[group], first) {
				add(t.line(m[1]-1, line), first, headless.advice)
			}
		}
	}
	seen := map[ast.Expr]bool{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if expr, ok := n.(ast.Expr); ok && !seen[expr] {
			phrases(sum(expr, seen))
		}
		return true
	})
	slices.SortStableFunc(findings, func(a, b finding) int { return a.line - b.line })
	return findings, nil
}

// text is what a person reads in one go: the lines of a comment, or the parts of a
// string that is written as a sum.
type text []part

// part is one piece of a text and where it begins. A newline in it is one in the
// file, too, if raw is set.
type part struct {
	text string
	pos  token.Pos
	raw  bool
}

func (t text) String() string {
	var whole strings.Builder
	for _, p := range t {
		whole.WriteString(p.text)
	}
	return whole.String()
}

// line returns the line of the byte at offset in the whole text.
func (t text) line(offset int, line func(token.Pos) int) int {
	for _, p := range t {
		if offset >= len(p.text) {
			offset -= len(p.text)
			continue
		}
		if p.raw {
			return line(p.pos) + strings.Count(p.text[:offset], "\n")
		}
		return line(p.pos)
	}
	return 0
}

// prose returns a comment without its marks.
func prose(group *ast.CommentGroup) (t text) {
	for _, c := range group.List {
		line := strings.TrimPrefix(strings.TrimPrefix(c.Text, "//"), "/*")
		t = append(t, part{strings.TrimSuffix(line, "*/") + "\n", c.Pos(), true})
	}
	return t
}

// sum returns the text of a string literal, or of a sum of them; another operand is
// one sign that belongs to no word. It adds the operands that it has read to seen.
func sum(expr ast.Expr, seen map[ast.Expr]bool) text {
	switch e := expr.(type) {
	case *ast.BasicLit:
		seen[e] = true
		if value, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return text{{value, e.Pos(), e.Value[0] == '`'}}
		}
	case *ast.BinaryExpr:
		seen[e] = true
		if e.Op == token.ADD {
			return slices.Concat(sum(e.X, seen), sum(e.Y, seen))
		}
	}
	return text{{"\x00", expr.Pos(), false}}
}

// documents returns the names that each doc comment documents.
func documents(file *ast.File) map[*ast.CommentGroup][]string {
	names := map[*ast.CommentGroup][]string{}
	add := func(doc *ast.CommentGroup, idents ...*ast.Ident) {
		for _, ident := range idents {
			names[doc] = append(names[doc], ident.Name)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch d := n.(type) {
		case *ast.FuncDecl:
			add(d.Doc, d.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					add(d.Doc, s.Name)
					add(s.Doc, s.Name)
				case *ast.ValueSpec:
					add(d.Doc, s.Names...)
					add(s.Doc, s.Names...)
				}
			}
		case *ast.Field:
			add(d.Doc, d.Names...)
		}
		return true
	})
	return names
}
