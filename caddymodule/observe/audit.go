package observe

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/opencontainers/go-digest"
	"go.uber.org/zap"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/events"
	"github.com/eblume/caddy-registry/policies"
)

// The audited actions. Each is a record of the logger oci.audit, and an event of Caddy's events
// app with the same fields as its data.
const (
	EventPush        = "registry_push"      // a manifest, or a tag that is new or named this already
	EventOverwrite   = "registry_overwrite" // a tag names something else now, or a manifest has another media type
	EventDelete      = "registry_delete"
	EventDenied      = "registry_denied" // a refused write
	EventKeyMade     = "registry_key_made"
	EventKeyRevoked  = "registry_key_revoked"
	EventKeyExpiring = "registry_key_expiring"
	EventPurge       = "registry_purge" // content of a mirror, by a command

	// Users, by a command; the pages report theirs with information about the browser.
	eventUserDisabled = "registry_user_disabled"
	eventUserEnabled  = "registry_user_enabled"
)

// Audit writes the audit records of one configuration, and emits its events. The zero value
// does neither. No field is ever a secret: credentials go by their IDs.
type Audit struct {
	log    *zap.SugaredLogger
	events *caddyevents.App
	ctx    caddy.Context
	record func(events.Event) // nil: nobody keeps them
}

// NewAudit makes the audit of a configuration, whose context is ctx. It emits events with app.
func NewAudit(ctx caddy.Context, app *caddyevents.App) Audit {
	return Audit{log: ctx.Logger().Named("audit").Sugar(), events: app, ctx: ctx}
}

// Into returns the audit with a record of events that gets each record, too.
func (a Audit) Into(record func(events.Event)) Audit {
	a.record = record
	return a
}

// On subscribes handler to an event of Caddy's in this configuration.
func (a Audit) On(event string, handler caddyevents.Handler) error {
	return a.events.On(event, handler)
}

// Tell makes one record and one event. fields are keys, which are strings, each followed by its
// value.
func (a Audit) Tell(event string, fields ...any) {
	if a.log == nil {
		return
	}
	a.log.Infow(event, fields...)
	if a.record != nil {
		a.record(eventOf(event, fields))
	}
	if a.events == nil || !a.events.ShouldEmit(event) || a.ctx.Err() != nil {
		return // no listener, or the configuration and its listeners are gone
	}
	data := make(map[string]any, len(fields)/2)
	for i := 0; i+1 < len(fields); i += 2 {
		data[fields[i].(string)] = fields[i+1]
	}
	a.events.Emit(a.ctx, event, data)
}

// Key records that a key was made or revoked, or will end soon.
func (a Audit) Key(event string, key identity.Key, by string) {
	a.Tell(event, "by", by, "key", key.ID, "name", key.Name, "user", key.User, "groups", key.Groups, "expires", key.Expires)
}

// KeyChanged records a key that was made or revoked. It is for identity.Keys.Watch.
func (a Audit) KeyChanged(change identity.Change, key identity.Key, by string) {
	a.Key(map[identity.Change]string{identity.Made: EventKeyMade, identity.Revoked: EventKeyRevoked}[change], key, by)
}

// UserChanged records users that a command disabled or enabled. It is for identity.Users.Watch.
func (a Audit) UserChanged(change identity.UserChange) {
	event := eventUserEnabled
	switch {
	case change.By != control.ByCommand:
		return
	case change.After.Disabled:
		event = eventUserDisabled
	}
	a.Tell(event, "by", change.By, "account", change.After.Name)
}

// audited is a registry for one request, whose changes are recorded.
type audited struct {
	core.Registry
	audit Audit
	by    []any // fields with the caller and the address
}

// Changes returns registry for one request. It records changes with the fields by, which name
// the caller: see By.
func Changes(registry core.Registry, audit Audit, by []any) core.Registry {
	return audited{registry, audit, by}
}

// By returns the fields with the user, the credential and the address of a caller.
func By(who policies.Identity, address string) []any {
	return []any{"user", who.User, "credential", who.Credential, "address", address}
}

func (a audited) tell(event, repo string, fields ...any) {
	a.audit.Tell(event, append(append(a.by[:len(a.by):len(a.by)], "repository", repo), fields...)...)
}

// PutManifest records each tag separately. A manifest without tags is also recorded.
func (a audited) PutManifest(ctx context.Context, repo string, put core.ManifestPut) (core.ManifestResult, error) {
	result, err := a.Registry.PutManifest(ctx, repo, put)
	if err != nil {
		return result, err // Observe records the denied caller
	}
	d := result.Descriptor.Digest
	switch {
	case result.TypeBefore != "":
		a.tell(EventOverwrite, repo, "digest", d, "media_type", result.Descriptor.MediaType, "media_type_before", result.TypeBefore)
	case len(put.Tags) == 0:
		a.tell(EventPush, repo, "digest", d)
	}
	for i, tag := range result.Tags {
		var before digest.Digest
		if i < len(result.Before) {
			before = result.Before[i]
		}
		event := EventPush
		if before != "" && before != d {
			event = EventOverwrite
		}
		a.tell(event, repo, "tag", tag, "digest", d, "digest_before", before)
	}
	for _, refused := range result.Refused {
		a.tell(EventDenied, repo, "digest", d, "error", refused.Error())
	}
	return result, nil
}

// AdmitManifest implements core.Admitter. Observe records its refusals.
func (a audited) AdmitManifest(ctx context.Context, repo string) error {
	return core.AdmitManifest(ctx, a.Registry, repo)
}

// DeleteTag records what the tag named when it was deleted.
func (a audited) DeleteTag(ctx context.Context, repo, tag string) error {
	ctx, deleted := core.WithDeletion(ctx)
	err := a.Registry.DeleteTag(ctx, repo, tag)
	if err == nil {
		a.tell(EventDelete, repo, "kind", "tag", "tag", tag, "digest_before", deleted.Digest)
	}
	return err
}

// DeleteManifest records the tags that were deleted with it.
func (a audited) DeleteManifest(ctx context.Context, repo string, d digest.Digest) error {
	ctx, deleted := core.WithDeletion(ctx)
	err := a.Registry.DeleteManifest(ctx, repo, d)
	if err == nil {
		a.tell(EventDelete, repo, "kind", "manifest", "tags", deleted.Tags, "digest_before", d)
	}
	return err
}

func (a audited) DeleteBlob(ctx context.Context, repo string, d digest.Digest) error {
	err := a.Registry.DeleteBlob(ctx, repo, d)
	if err == nil {
		a.tell(EventDelete, repo, "kind", "blob", "digest_before", d)
	}
	return err
}
