package pages

import (
	"fmt"
	"html/template"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxText bounds a text of an image on a page, in bytes as they are sent.
	maxText = 10 << 10
	// longText is the length from which a text is folded, in bytes.
	longText = 320
	// headText is the part of it that is shown then.
	headText = 160
	// maxRows bounds the rows of a table of an image's texts.
	maxRows = 200
	// rowBytes is what a row of a table takes beside its texts, about.
	rowBytes = 90
)

// safe returns a text of an image as HTML of at most most bytes. Its direction does not reach beyond
// it. Control and format characters, among them those that change the direction, are shown as
// escapes. Lines are kept in a text of several.
func safe(s string, most int, lines bool) template.HTML {
	var b strings.Builder
	b.WriteString("<bdi>")
	most -= len("<bdi></bdi>…")
	for i, r := range s {
		from := b.Len()
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd"):
			fmt.Fprintf(&b, `<span class="esc">\x%02x</span>`, s[i])
		case r == '<' || r == '>' || r == '&' || r == '"' || r == '\'':
			b.WriteString(template.HTMLEscapeString(string(r)))
		case unicode.IsPrint(r), lines && (r == '\n' || r == '\t'):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `<span class="esc">\U%08x</span>`, r)
		default:
			fmt.Fprintf(&b, `<span class="esc">\u%04x</span>`, r)
		}
		if b.Len() > most {
			return template.HTML(b.String()[:from] + "…</bdi>")
		}
	}
	b.WriteString("</bdi>")
	return template.HTML(b.String())
}

// line returns a short text on one line.
func line(s string) template.HTML { return safe(s, 4*longText, false) }

// ink is how many bytes the texts of an image may still take on a page.
type ink struct{ left int }

// dry reports whether no further row fits.
func (k *ink) dry() bool { return k.left < 2*rowBytes }

// text returns a text as a table shows it: folded if it is long.
func (k *ink) text(s string, lines bool) template.HTML {
	out := safe(s, max(2*rowBytes, min(maxText, k.left)), lines)
	if len(s) > longText {
		out = `<details class="long"><summary>` + safe(s, headText, false) + `</summary>` + out + `</details>`
	}
	k.left -= len(out) + rowBytes
	return out
}

// pair is a row of a table of texts.
type pair struct{ Name, Value template.HTML }

// table is a list of texts, and how many more there are.
type table struct {
	Rows []pair
	More int
}

// Total is the number of texts.
func (t table) Total() int { return len(t.Rows) + t.More }

// pairs makes a table of names and values, which each returns in order.
func (k *ink) pairs(n int, each func(i int) (name, value string)) table {
	var t table
	for i := range n {
		if i == maxRows || k.dry() {
			t.More = n - i
			break
		}
		name, value := each(i)
		t.Rows = append(t.Rows, pair{k.text(name, false), k.text(value, true)})
	}
	return t
}
