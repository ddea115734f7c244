// Package welcome says, in three lines after the start, where the registry is served, how
// somebody gets an API key, and where the pages for people are.
//
//	welcome.Say(os.Stderr, log, about) // plain lines on a terminal, else records of the log
package welcome

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/term"
)

// About is what the lines are about.
type About struct {
	// Program is how the program was called, and Storage the directory of its storage.
	Program, Storage string
	// URLs are the roots of the sites.
	URLs []string
	// Group is a group that may push, for the key; empty: the policy names none.
	Group string
	// Pages is the root of the site with the pages; empty: nobody can sign in.
	Pages string
}

// line is one of the three: a record with one field, and the same as plain text.
type line struct{ message, key, value string }

func (a About) lines() []line {
	key := line{"make an API key", "command", strings.Join([]string{quoted(a.Program), "registry key create --storage", quoted(a.Storage), "--user me --group", quoted(a.Group)}, " ")}
	pages := line{"nobody can sign in on the pages", "remedy", "set oidc or local_user in the block oci"}
	switch {
	case a.Pages != "":
		key = line{"sign-in is configured", "url", a.Pages + "/login"}
		pages = line{"people make API keys on their page", "url", a.Pages + "/user/apikey"}
	case a.Group == "":
		key = line{"no group may push", "remedy", "add a rule like `allow group admins *` in the block policy"}
	}
	return []line{{"registry is served", "urls", strings.Join(a.URLs, " ")}, key, pages}
}

// Say writes the lines to out if it is a terminal, and else logs them.
func Say(out *os.File, log *slog.Logger, about About) {
	if term.IsTerminal(int(out.Fd())) {
		about.print(out)
		return
	}
	for _, l := range about.lines() {
		log.Info(l.message, l.key, l.value)
	}
}

// print writes the lines for a person.
func (a About) print(out io.Writer) {
	for _, l := range a.lines() {
		fmt.Fprintf(out, "%s%s: %s\n", strings.ToUpper(l.message[:1]), l.message[1:], l.value)
	}
}

// quoted is a word as a shell takes it.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+=,", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
