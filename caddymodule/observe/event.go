package observe

import (
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/events"
)

// maxEventTags bounds the deleted tags that an event names.
const maxEventTags = 10

// eventOf returns an audit record as an event for people to look at.
func eventOf(name string, fields []any) events.Event {
	e := events.Event{Kind: strings.TrimPrefix(name, "registry_")}
	var by, key string
	var words []string
	for i := 0; i+1 < len(fields); i += 2 {
		value := textOf(fields[i+1])
		if value == "" {
			continue
		}
		switch fields[i] {
		case "user":
			e.User = value
		case "credential":
			e.Credential = value
		case "address":
			e.Address = value
		case "repository":
			e.Repo = value
		case "tag":
			e.Tag = value
		case "digest":
			e.Digest = value
		case "digest_before":
			e.Before = value
		case "by":
			by = value
		case "key":
			key = value
		case "account":
			e.Subject = value
		case "unrecorded":
			if n, ok := fields[i+1].(int); ok {
				e.Count = int64(n)
			}
		case "tags":
			words = append(words, "tags "+value)
		case "name", "groups", "status", "since", "follows_provider", "sessions":
		case "media_type_before":
			words = append(words, "was "+value)
		case "bytes":
			words = append(words, value+" bytes")
		case "expires":
			words = append(words, "until "+value)
		default: // action, at, error, kind, media_type, method, reason
			words = append(words, value)
		}
	}
	if key != "" { // its user is the one who may use it
		e.Subject = "key " + key + " of " + e.User
		e.User = ""
	}
	if by != "" {
		e.User = by
	}
	e.Text = strings.Join(words, "; ")
	return e
}

// textOf is a value of an audit record in words.
func textOf(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case digest.Digest:
		return string(v)
	case []string:
		if len(v) > maxEventTags {
			return strings.Join(v[:maxEventTags], ", ") + fmt.Sprintf(" and %d more", len(v)-maxEventTags)
		}
		return strings.Join(v, ", ")
	case time.Time:
		if v.IsZero() {
			return ""
		}
		return v.UTC().Format("2006-01-02 15:04 UTC")
	}
	return fmt.Sprint(value)
}
