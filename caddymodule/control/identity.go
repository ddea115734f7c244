package control

import "github.com/eblume/caddy-registry/caddymodule/identity"

// IdentityOrder is what a command about keys or users asks for: one of its members.
type IdentityOrder struct {
	CreateKey *identity.NewKey `json:"create_key,omitempty"`
	ListKeys  *string          `json:"list_keys,omitempty"` // of that user; "": of all
	RevokeKey string           `json:"revoke_key,omitempty"`
	ListUsers bool             `json:"list_users,omitempty"`
	// FindKey asks for the valid keys that rules know by an ID or a label, and for what
	// is known about their owners.
	FindKey string `json:"find_key,omitempty"`
	// SetUser is enabled, or disabled if Disable says so.
	SetUser string `json:"set_user,omitempty"`
	Disable bool   `json:"disable,omitempty"`
	// PreviewDisable reports what disabling a user would hit, and changes nothing.
	PreviewDisable string `json:"preview_disable,omitempty"`
}

// IdentityReport is what came of an IdentityOrder.
type IdentityReport struct {
	// Secret is that of the key that was made. It is shown here, and never again.
	Secret string          `json:"secret,omitempty"`
	Keys   []identity.Key  `json:"keys,omitempty"`
	Users  []identity.User `json:"users,omitempty"`
	// Misspelt has a sentence for each name of the order that is most likely misspelt.
	Misspelt []string `json:"misspelt,omitempty"`
	// Warning is what the order did, or would do, that is hardly meant.
	Warning string `json:"warning,omitempty"`
	// Instance is the ID of the process that carried the order out; empty: no server.
	Instance string `json:"instance,omitempty"`
}

// ByCommand is recorded as the maker of a key that a command made.
const ByCommand = "command"
