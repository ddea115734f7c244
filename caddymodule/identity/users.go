package identity

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/eblume/caddy-registry/caddymodule/record"
	"github.com/eblume/caddy-registry/core/bucket"
)

// User is the record of one person, or of a service account that an admin has disabled.
type User struct {
	// Name is the user's name in policies, logs and pages.
	Name string `json:"name"`
	// Issuer and Subject identify the user at the sign-in provider. The name belongs to the first
	// pair that used it. Empty: no user has signed in with this name.
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
	// Groups are those that Issuer named last.
	Groups []string `json:"groups,omitempty"`
	// Verified is when Issuer named them.
	Verified time.Time `json:"verified,omitzero"`
	// Disabled users are refused, with all their credentials.
	Disabled bool `json:"disabled,omitempty"`
	// damaged reports that the record cannot be read. The user is disabled until an administrator
	// enables it again: the person and the groups are unknown.
	damaged bool
	// Refresh is the provider's refresh token, sealed by its writer. With one the
	// groups follow the provider. It is never shown.
	Refresh []byte `json:"refresh,omitempty"`
}

// Users are the people of one storage, by name.
type Users struct {
	records *records[User]
	now     func() time.Time
	watch   atomic.Pointer[func(UserChange)]
	damaged map[string]error // as Open found them
}

// maxUserName bounds a name, in bytes: its hexadecimal form is a key of the bucket.
const maxUserName = 120

// The conditions that Users and Keys report.
var (
	// ErrNameTaken: another subject of a provider has this name.
	ErrNameTaken = errors.New("the name belongs to another account")
	// ErrUserUnknown: no user with that name has signed in.
	ErrUserUnknown = errors.New("no such user")
	// ErrUserInvalid: a name that cannot be one.
	ErrUserInvalid = errors.New("invalid user name")
	// ErrUserDamaged: the record cannot be read.
	ErrUserDamaged = errors.New("the user's record is damaged; an administrator can start it anew with `registry user enable`")
)

const usersPrefix = "users"

// checkUserRecord refuses values that no user can have, which a damaged record may contain.
func checkUserRecord(name string, u User) error {
	if recordName(u.Name) != name {
		return record.ErrDamaged
	}
	return nil
}

func openUsers(ctx context.Context, b bucket.Bucket, now func() time.Time) (*Users, error) {
	records, damaged, err := loadRecords(ctx, b, usersPrefix, checkUserRecord)
	if err != nil {
		return nil, err
	}
	for name := range damaged {
		if user, err := hex.DecodeString(name); err == nil {
			records.values[name] = User{Name: string(user), Disabled: true, damaged: true}
		}
	}
	return &Users{records: records, now: now, damaged: damaged}, nil
}

// CheckUserName refuses an invalid user name: an empty one, one of more than 120 bytes,
// and one that a log, a header or the user part of Basic cannot carry. Errors:
// ErrUserInvalid.
func CheckUserName(name string) error {
	if strings.Contains(name, ":") {
		return fmt.Errorf("%w: %q has a colon, which is only for the names of workloads", ErrUserInvalid, name)
	}
	return checkName(name)
}

// CheckMachineName is CheckUserName for callers that never write the name in front of a
// password: it may have colons, as a URI has. Errors: ErrUserInvalid.
func CheckMachineName(name string) error { return checkName(name) }

// checkName is CheckUserName for a name that may also be that of a workload.
func checkName(name string) error {
	switch {
	case name == "" || len(name) > maxUserName:
		return fmt.Errorf("%w: it has 1 to %d bytes", ErrUserInvalid, maxUserName)
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }):
		return fmt.Errorf("%w: %q has a control character", ErrUserInvalid, name)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("%w: %q begins or ends with a space", ErrUserInvalid, name)
	}
	return nil
}

func recordName(user string) string { return hex.EncodeToString([]byte(user)) }

// Get returns what is known about a user.
func (u *Users) Get(name string) (User, bool) { return u.records.get(recordName(name)) }

// List returns all of them in order of their names.
func (u *Users) List() []User {
	names, values := u.records.all()
	users := make([]User, 0, len(names))
	for _, name := range names {
		users = append(users, values[name])
	}
	return users
}

// SignedIn stores a provider's answer about a user: Issuer, Subject, Groups and Refresh; Verified
// is now. It returns when the record is durable. A disabled user stays disabled; the caller must
// check this in the result. Errors: ErrNameTaken when another issuer or subject has the name,
// ErrUserInvalid, ErrUserDamaged.
func (u *Users) SignedIn(ctx context.Context, who User) (User, error) {
	if err := CheckUserName(who.Name); err != nil {
		return User{}, err
	}
	return u.update(ctx, who.Name, func(old User, _ bool) (User, error) {
		if old.damaged { // the name may belong to another user
			return User{}, fmt.Errorf("user %s: %w", who.Name, ErrUserDamaged)
		}
		if old.Subject != "" && (old.Issuer != who.Issuer || old.Subject != who.Subject) {
			return User{}, fmt.Errorf("user %s: %w", who.Name, ErrNameTaken)
		}
		who.Disabled = old.Disabled
		who.Verified = u.now()
		return who, nil
	})
}

// Update changes the record of a user, and returns when that is durable: the groups of
// a refresh, a refresh token that is no longer valid. change must not alter the name,
// nor what the slices hold. Errors: ErrUserUnknown, and change's.
func (u *Users) Update(ctx context.Context, name string, change func(*User) error) (User, error) {
	return u.update(ctx, name, func(old User, exists bool) (User, error) {
		if !exists {
			return User{}, fmt.Errorf("user %s: %w", name, ErrUserUnknown)
		}
		if old.damaged {
			return User{}, fmt.Errorf("user %s: %w", name, ErrUserDamaged)
		}
		if err := change(&old); err != nil {
			return User{}, err
		}
		old.Name = name
		return old, nil
	})
}

// SetDisabled disables a user, or enables one again. Enabling a user with a damaged record
// discards its content, and the next person that signs in with that name gets the name. The
// change takes effect on the next request, and is durable when SetDisabled returns. It also works
// for names that never signed in, such as service accounts and workloads. Errors: ErrUserInvalid.
func (u *Users) SetDisabled(ctx context.Context, name string, disabled bool) (User, error) {
	return u.setDisabled(ctx, name, disabled, func([]User) error { return nil })
}

// DisableIf disables a user as SetDisabled does, unless may refuses it for the users as
// they are now. No record changes while may runs: of two calls that exclude each other, the
// second sees the change of the first. Errors: ErrUserInvalid, and those of may.
func (u *Users) DisableIf(ctx context.Context, name string, may func(all []User) error) (User, error) {
	return u.setDisabled(ctx, name, true, may)
}

func (u *Users) setDisabled(ctx context.Context, name string, disabled bool, may func([]User) error) (User, error) {
	if err := checkName(name); err != nil {
		return User{}, err
	}
	return u.update(ctx, name, func(old User, _ bool) (User, error) {
		if err := may(u.List()); err != nil {
			return User{}, err
		}
		old.Name, old.Disabled, old.damaged = name, disabled, false
		return old, nil
	})
}

// update changes the record of a user, and reports the change to the watcher.
func (u *Users) update(ctx context.Context, name string, change func(User, bool) (User, error)) (User, error) {
	var before User
	after, err := u.records.update(ctx, recordName(name), func(old User, exists bool) (User, error) {
		before = old
		return change(old, exists)
	})
	if watch := u.watch.Load(); err == nil && watch != nil {
		(*watch)(UserChange{Of: u, Before: before, After: after, By: actor(ctx)})
	}
	return after, err
}
