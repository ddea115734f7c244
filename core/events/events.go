// Package events keeps what happened in a registry: pushes, deletions, logins, refusals, keys, the
// ends of rounds. It is a bounded record for people to look at, beside the audit log.
//
//	log := events.Open(events.Config{Path: "…/history/events.db", Log: logger})
//	defer log.Close()
//	log.Add(events.Event{Kind: "push", Repo: "team/app", Tag: "v1"})
//	for e, err := range log.List(ctx, events.Query{Repo: "team/app"}, "") { … }
//
// Add does no I/O: a goroutine writes what was added, in one transaction at most once a second. A
// power cut or a kill loses that second. What waits is read with what is written.
//
// The newest events are kept, at most Config.Most and for MaxAge. Kinds that anybody can cause in any
// number, such as refusals, have a share of their own: a flood of them forgets only older ones of
// them. See Share.
//
//	event.go  what an event has, and its bounds
//	log.go    adding and writing
//	file.go   rows, and which of them are forgotten
//	list.go   reading
package events

import (
	"encoding/json"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Event is something that happened. Which fields are set depends on its kind.
type Event struct {
	// ID is larger than those of all earlier events.
	ID   uint64    `json:"-"`
	Time time.Time `json:"time"`
	// Kind says what happened, in one word as "push". See Share.
	Kind string `json:"kind"`
	// Repo is the repository where it happened, and Tag and Digest what it was about. Before is
	// what the tag named, or what was deleted.
	Repo   string `json:"repo,omitempty"`
	Tag    string `json:"tag,omitempty"`
	Digest string `json:"digest,omitempty"`
	Before string `json:"before,omitempty"`
	// User caused it, with Credential from Address. Empty: anonymous, or the registry itself.
	User       string `json:"user,omitempty"`
	Credential string `json:"credential,omitempty"`
	Address    string `json:"address,omitempty"`
	// Subject is the key or the account that it was about.
	Subject string `json:"subject,omitempty"`
	// Text says more, for people.
	Text string `json:"text,omitempty"`
	// Count is how many such events this one stands for, if it is more than one.
	Count int64 `json:"count,omitempty"`
}

// Bounds of the fields, in bytes: texts come from clients.
const (
	maxKind    = 40
	maxName    = 255 // core.MaxNameLength
	maxTag     = 128
	maxDigest  = 140 // sha512: and its digits
	maxWord    = 200
	maxText    = 400
	maxAddress = 64
	// maxRow bounds an event as it is stored. Escapes can make a text six times as long.
	maxRow = 4 << 10
)

// clip bounds a text, and replaces what a terminal or a page would not show.
func clip(s string, most int) string {
	if len(s) > most {
		s = s[:most]
		for !utf8.ValidString(s) && len(s) > most-utf8.UTFMax {
			s = s[:len(s)-1]
		}
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// bounded returns e with bounded fields.
func (e Event) bounded() Event {
	for _, field := range []struct {
		text *string
		most int
	}{
		{&e.Kind, maxKind}, {&e.Repo, maxName}, {&e.Tag, maxTag}, {&e.Digest, maxDigest}, {&e.Before, maxDigest},
		{&e.User, maxWord}, {&e.Credential, maxWord}, {&e.Address, maxAddress}, {&e.Subject, maxWord}, {&e.Text, maxText},
	} {
		*field.text = clip(*field.text, field.most)
	}
	return e
}

// encode returns an event as it is stored, at most maxRow bytes.
func (e Event) encode() []byte {
	data, err := json.Marshal(e)
	if err == nil && len(data) > maxRow {
		e.Text, e.User, e.Subject = "", clip(e.User, 40), clip(e.Subject, 40)
		data, err = json.Marshal(e)
	}
	if err != nil {
		panic(err) // it is made of strings, a number and a time after the year 0
	}
	return data
}

// Share is a part of the events with a bound of its own.
type Share uint8

// The shares.
const (
	Changes  Share = iota // of content, keys and users, and what belongs to no other share
	Logins                // and logouts
	Refusals              // refused writes and refused logins
	Rounds                // what the registry did by itself
	shares
)

// percent are the shares of Config.Most.
var percent = [shares]int{Changes: 70, Logins: 15, Refusals: 10, Rounds: 5}

// ShareOf returns the share of a kind of event.
func ShareOf(kind string) Share {
	switch kind {
	case "denied", "login_refused":
		return Refusals
	case "login", "logout":
		return Logins
	case "gc", "verify", "evict":
		return Rounds
	}
	return Changes
}
