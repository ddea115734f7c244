package caddymodule

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/opencontainers/go-digest"
	"go.uber.org/zap"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

// What is audited. Each is a record of the logger oci.audit, and an event of Caddy's
// events app with the same fields as its data.
const (
	auditPush        = "registry_push"      // a manifest, or a tag that is new or named this already
	auditOverwrite   = "registry_overwrite" // a tag names something else now, or a manifest has another media type
	auditDelete      = "registry_delete"
	auditDenied      = "registry_denied" // a write that was refused to somebody
	auditKeyMade     = "registry_key_made"
	auditKeyRevoked  = "registry_key_revoked"
	auditKeyExpiring = "registry_key_expiring"

	// Users, by a command; the pages report theirs with what they know of the browser.
	auditUserDisabled = "registry_user_disabled"
	auditUserEnabled  = "registry_user_enabled"
)

// audit tells the log and the event handlers of one configuration. The zero value
// tells nobody. No field is ever a secret: credentials go by their IDs.
type audit struct {
	log    *zap.SugaredLogger
	events *caddyevents.App
	ctx    caddy.Context
}

// provisionAudit finds whom to tell.
func (a *App) provisionAudit(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return err
	}
	a.strangers, a.refused = newStrangers(nil), newStrangers(nil)
	a.audit = audit{ctx.Logger().Named("audit").Sugar(), app.(*caddyevents.App), ctx}
	return nil
}

// tell makes one record and one event. fields are keys, each with its value.
func (a audit) tell(event string, fields ...any) {
	if a.log == nil {
		return
	}
	a.log.Infow(event, fields...)
	if a.events == nil || !a.events.ShouldEmit(event) || a.ctx.Err() != nil {
		return // nobody listens, or the configuration is gone, and with it whoever did
	}
	data := make(map[string]any, len(fields)/2)
	for i := 0; i+1 < len(fields); i += 2 {
		data[fields[i].(string)] = fields[i+1]
	}
	a.events.Emit(a.ctx, event, data)
}

// key tells that a key was made or revoked, or will end soon.
func (a audit) key(event string, key identity.Key, by string) {
	a.tell(event, "by", by, "key", key.ID, "name", key.Name, "user", key.User, "groups", key.Groups, "expires", key.Expires)
}

// keyChanged is what identity.Keys calls.
func (a audit) keyChanged(change identity.Change, key identity.Key, by string) {
	a.key(map[identity.Change]string{identity.Made: auditKeyMade, identity.Revoked: auditKeyRevoked}[change], key, by)
}

// userChanged reports users that a command disabled or enabled. It is for identity.Users.
func (a audit) userChanged(change identity.UserChange) {
	event := auditUserEnabled
	switch {
	case change.By != control.ByCommand:
		return
	case change.After.Disabled:
		event = auditUserDisabled
	}
	a.tell(event, "by", change.By, "account", change.After.Name)
}

// audited is a registry for one request, whose changes are told.
type audited struct {
	core.Registry
	audit audit
	by    []any // fields that say who, and from where
}

// byWhom are the fields that say who did something, by which credential, from where.
func byWhom(who policies.Identity, address string) []any {
	return []any{"user", who.User, "credential", who.Credential, "address", address}
}

func (a audited) tell(event, repo string, fields ...any) {
	a.audit.tell(event, append(append(a.by[:len(a.by):len(a.by)], "repository", repo), fields...)...)
}

// PutManifest tells of each tag by itself. A manifest without tags is told of, too.
func (a audited) PutManifest(ctx context.Context, repo string, put core.ManifestPut) (core.ManifestResult, error) {
	result, err := a.Registry.PutManifest(ctx, repo, put)
	if err != nil {
		return result, err // Observe tells who was denied
	}
	d := result.Descriptor.Digest
	switch {
	case result.TypeBefore != "":
		a.tell(auditOverwrite, repo, "digest", d, "media_type", result.Descriptor.MediaType, "media_type_before", result.TypeBefore)
	case len(put.Tags) == 0:
		a.tell(auditPush, repo, "digest", d)
	}
	for i, tag := range result.Tags {
		var before digest.Digest
		if i < len(result.Before) {
			before = result.Before[i]
		}
		event := auditPush
		if before != "" && before != d {
			event = auditOverwrite
		}
		a.tell(event, repo, "tag", tag, "digest", d, "digest_before", before)
	}
	for _, refused := range result.Refused {
		a.tell(auditDenied, repo, "digest", d, "error", refused.Error())
	}
	return result, nil
}

// AdmitManifest implements core.Admitter. What it refuses, Observe tells.
func (a audited) AdmitManifest(ctx context.Context, repo string) error {
	return core.AdmitManifest(ctx, a.Registry, repo)
}

// DeleteTag tells what the tag named when it went.
func (a audited) DeleteTag(ctx context.Context, repo, tag string) error {
	ctx, deleted := core.WithDeletion(ctx)
	err := a.Registry.DeleteTag(ctx, repo, tag)
	if err == nil {
		a.tell(auditDelete, repo, "kind", "tag", "tag", tag, "digest_before", deleted.Digest)
	}
	return err
}

// DeleteManifest tells which tags went with it.
func (a audited) DeleteManifest(ctx context.Context, repo string, d digest.Digest) error {
	ctx, deleted := core.WithDeletion(ctx)
	err := a.Registry.DeleteManifest(ctx, repo, d)
	if err == nil {
		a.tell(auditDelete, repo, "kind", "manifest", "tags", deleted.Tags, "digest_before", d)
	}
	return err
}

func (a audited) DeleteBlob(ctx context.Context, repo string, d digest.Digest) error {
	err := a.Registry.DeleteBlob(ctx, repo, d)
	if err == nil {
		a.tell(auditDelete, repo, "kind", "blob", "digest_before", d)
	}
	return err
}
