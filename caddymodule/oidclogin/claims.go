package oidclogin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/oauth2"
)

const (
	// maxGroups and maxGroup bound the groups of a person. More groups are refused and not
	// truncated: a rule that denies may name the group that would be missing.
	maxGroups = 1000
	maxGroup  = 256 // bytes
)

// errOther: a token that was swapped.
var errOther = fmt.Errorf("%w: it is about another user", ErrAnswer)

// Account is a person, as the provider describes them.
type Account struct {
	Issuer, Subject string
	// SID is the provider's own session, if it named one.
	SID string
	// User is the name by which the person is known here.
	User   string
	Groups []string
	// Refresh is a refresh token, or "".
	Refresh string
}

// account reads the claims of a verified ID token, and requests missing ones from userinfo.
func (d *discovered) account(ctx context.Context, claims map[string]any, token *oauth2.Token, settings Settings) (Account, error) {
	var who Account
	who.Subject, _ = claims["sub"].(string)
	who.SID, _ = claims["sid"].(string)
	if who.Subject == "" {
		return Account{}, fmt.Errorf("%w: no subject", ErrAnswer)
	}
	_, named := claims[settings.UsernameClaim]
	_, grouped := claims[settings.GroupsClaim]
	if (!named || !grouped) && d.UserInfoEndpoint() != "" {
		more, err := d.userInfo(ctx, token, who.Subject)
		if err != nil {
			return Account{}, err
		}
		for _, name := range []string{settings.UsernameClaim, settings.GroupsClaim} {
			if _, have := claims[name]; !have && more[name] != nil {
				claims[name] = more[name]
			}
		}
	}
	who.User, _ = claims[settings.UsernameClaim].(string)
	if who.User == "" {
		return Account{}, fmt.Errorf("%w: it has no claim %q for the user's name", ErrAnswer, settings.UsernameClaim)
	}
	var err error
	who.Groups, err = groupsOf(claims[settings.GroupsClaim])
	return who, err
}

// userInfo requests claims. They must be about the subject of the token: an answer about another
// one means that the token was swapped.
func (d *discovered) userInfo(ctx context.Context, token *oauth2.Token, subject string) (map[string]any, error) {
	info, err := d.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, fmt.Errorf("%w: userinfo: %w", ErrUnavailable, err)
	}
	if info.Subject != subject {
		return nil, fmt.Errorf("userinfo: %w", errOther)
	}
	var claims map[string]any
	if err := info.Claims(&claims); err != nil {
		return nil, fmt.Errorf("%w: userinfo: %w", ErrAnswer, err)
	}
	return claims, nil
}

// groupsOf reads a claim that is a list of names, or one name.
func groupsOf(claim any) ([]string, error) {
	var groups []string
	switch claim := claim.(type) {
	case nil:
	case string:
		groups = []string{claim}
	case []any:
		if len(claim) > maxGroups {
			return nil, fmt.Errorf("%w: it names %d groups, and at most %d are accepted; let the provider send fewer", ErrAnswer, len(claim), maxGroups)
		}
		for _, one := range claim {
			name, ok := one.(string)
			if !ok {
				return nil, fmt.Errorf("%w: a group is not a text", ErrAnswer)
			}
			groups = append(groups, name)
		}
	default:
		return nil, fmt.Errorf("%w: the groups are neither a list nor a text", ErrAnswer)
	}
	groups = slices.DeleteFunc(groups, func(g string) bool { return strings.TrimSpace(g) == "" })
	for _, name := range groups {
		if len(name) > maxGroup {
			return nil, fmt.Errorf("%w: the name of a group has more than %d bytes", ErrAnswer, maxGroup)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups), nil
}

// admit refuses a person that is in none of the groups that may sign in.
func (s Settings) admit(who Account) error {
	if len(s.AllowedGroups) == 0 || slices.ContainsFunc(who.Groups, func(g string) bool { return slices.Contains(s.AllowedGroups, g) }) {
		return nil
	}
	return fmt.Errorf("%s is %w", who.User, ErrNotAllowed)
}
