package authenticators

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/option"
)

// LocalUser is a person with a password that stands in the configuration as a hash:
// for the day the sign-in provider is down, or where there is none. The password is
// taken at /token and on the login page, and never below /v2/.
type LocalUser struct {
	// Name is what policies, logs and pages call the user. It has no colon.
	Name string `json:"name"`

	// Hash is what `caddy-registry hash-password --algorithm bcrypt` makes of the
	// password, with a cost of 10 to 14; or a placeholder for it, such as
	// {file./run/secrets/erich}, that is resolved at the start.
	Hash string `json:"hash"`

	// Groups are those of the user. Default: none.
	Groups []string `json:"groups,omitempty"`

	// Line is where the user stands in the Caddyfile, for messages. Default: none.
	Line string `json:"line,omitempty"`
}

func isPlaceholder(text string) bool { return option.CheckSecret(text) == nil }

// check refuses what can be nobody. It does not resolve the hash.
func (u LocalUser) check() error {
	if err := identity.CheckUserName(u.Name); err != nil {
		return err
	}
	for _, group := range u.Groups {
		if strings.TrimSpace(group) == "" || strings.ContainsFunc(group, unicode.IsControl) {
			return fmt.Errorf("invalid group name %q", group)
		}
	}
	if isPlaceholder(u.Hash) {
		return nil
	}
	return identity.CheckPasswordHash(u.Hash)
}

// located says about whom, and where it is written, something is wrong.
func (u LocalUser) located(err error) error {
	if err = fmt.Errorf("local_user %s: %w", u.Name, err); u.Line != "" {
		err = fmt.Errorf("%s: %w", u.Line, err)
	}
	return err
}

// resolved is the user with the hash.
func (u LocalUser) resolved() (identity.LocalUser, error) {
	hash := u.Hash
	if isPlaceholder(hash) {
		var err error
		if hash, err = option.Resolve("hash", hash); err != nil {
			return identity.LocalUser{}, u.located(err)
		}
		hash = strings.TrimSpace(hash) // a file ends with a line
		if err := identity.CheckPasswordHash(hash); err != nil {
			return identity.LocalUser{}, u.located(err)
		}
	}
	return identity.LocalUser{Name: u.Name, Hash: hash, Groups: u.Groups}, nil
}

// LocalUsers are all local users of a configuration.
type LocalUsers []LocalUser

// Check refuses users who can be nobody, and two of the same name. It resolves no hash.
func (all LocalUsers) Check() error {
	for i, user := range all {
		if err := user.check(); err != nil {
			return user.located(err)
		}
		if slices.ContainsFunc(all[:i], func(other LocalUser) bool { return other.Name == user.Name }) {
			return user.located(errors.New("there is another of this name"))
		}
	}
	return nil
}

// Resolve returns the users with their hashes. What is tried is counted in passwords.
func (all LocalUsers) Resolve(passwords *identity.Passwords) (*identity.Locals, error) {
	var users []identity.LocalUser
	for _, user := range all {
		resolved, err := user.resolved()
		if err != nil {
			return nil, err
		}
		users = append(users, resolved)
	}
	return identity.NewLocals(users, passwords), nil
}

// UnmarshalCaddyfile reads one user, whose option's name was consumed. Syntax:
//
//	local_user <name> <bcrypt hash> [<groups...>]
func (all *LocalUsers) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	line := fmt.Sprintf("%s:%d", d.File(), d.Line())
	words := d.RemainingArgs()
	if len(words) < 2 {
		return d.Err("write: local_user <name> <bcrypt hash> <groups...>; `caddy-registry hash-password --algorithm bcrypt` makes the hash")
	}
	*all = append(*all, LocalUser{Name: words[0], Hash: words[1], Groups: words[2:], Line: line})
	return nil
}

var _ caddyfile.Unmarshaler = (*LocalUsers)(nil)
