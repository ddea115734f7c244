package observe

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/events"
	"github.com/eblume/caddy-registry/policies"
)

func TestAuditRecordsBecomeEvents(t *testing.T) {
	d, before := digest.FromString("new"), digest.FromString("old")
	by := By(policies.Identity{User: "ci", Credential: "key 0123456789ab"}, "192.0.2.1")
	for _, row := range []struct {
		name   string
		fields []any
		want   events.Event
	}{
		{EventOverwrite, append(by[:6:6], "repository", "team/app", "tag", "v1", "digest", d, "digest_before", before),
			events.Event{Kind: "overwrite", User: "ci", Credential: "key 0123456789ab", Address: "192.0.2.1", Repo: "team/app", Tag: "v1", Digest: string(d), Before: string(before)}},
		{EventPush, append(by[:6:6], "repository", "team/app", "tag", "v1", "digest", d, "digest_before", digest.Digest("")),
			events.Event{Kind: "push", User: "ci", Credential: "key 0123456789ab", Address: "192.0.2.1", Repo: "team/app", Tag: "v1", Digest: string(d)}},
		{EventDelete, append(by[:6:6], "repository", "team/app", "kind", "manifest", "tags", []string{"v1", "v2"}, "digest_before", before),
			events.Event{Kind: "delete", User: "ci", Credential: "key 0123456789ab", Address: "192.0.2.1", Repo: "team/app", Before: string(before), Text: "manifest; tags v1, v2"}},
		// The maker of a key is not always the user of it.
		{EventKeyMade, []any{"by", "ada", "key", "0123456789ab", "name", "ci", "user", "bot", "groups", []string{"ci"}, "expires", time.Time{}},
			events.Event{Kind: "key_made", User: "ada", Subject: "key 0123456789ab of bot"}},
		{EventLoginRefused, append(By(policies.Identity{}, "192.0.2.1"), "status", 401, "unrecorded", 940, "since", time.Now()),
			events.Event{Kind: "login_refused", Address: "192.0.2.1", Count: 940}},
		{eventUserDisabled, []any{"by", "command", "account", "eve"}, events.Event{Kind: "user_disabled", User: "command", Subject: "eve"}},
	} {
		if got := eventOf(row.name, row.fields); got != row.want {
			t.Errorf("%s: got\n%+v\nwant\n%+v", row.name, got, row.want)
		}
	}
}
