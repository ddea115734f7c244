package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/policies"
)

// The pages of administrators.
const (
	adminKeysPath  = "/admin/keys"
	adminUsersPath = "/admin/users"
)

// userRow is a person, or a disabled service account, in a list.
type userRow struct {
	identity.User
	Local bool // of the configuration, with a password
	Keys  int  // that are valid
}

// admin shows the keys of all users, or the users.
func (s *Site) admin(w http.ResponseWriter, r *http.Request, https bool) {
	who, in := s.who(r, https)
	if !in {
		toSignIn(w, r)
		return
	}
	if !s.Admins.Includes(who) {
		s.refused(w, r, who, errForbidden)
		return
	}
	p, query := page{Who: who, Admin: true, Wide: true}, r.URL.Query()
	if r.URL.Path == adminUsersPath {
		p.Title = "Users"
		p.Users, p.Part = cut(s.users(), query.Get("after"), func(u userRow) string { return u.Name }, adminUsersPath, nil)
		s.render(w, r, http.StatusOK, "users", p)
		return
	}
	p.Others, p.Title, p.Name = true, "All keys", strings.TrimSpace(query.Get("user"))
	filter := url.Values{}
	if p.Name != "" {
		filter.Set("user", p.Name)
	}
	p.Keys, p.Part = s.keyRows(s.Identity.Keys().List(p.Name), query.Get("after"), adminKeysPath, filter)
	s.render(w, r, http.StatusOK, "allkeys", p)
}

// users returns everybody who has signed in, was disabled, or has a password in the configuration,
// in order of their names.
func (s *Site) users() []userRow {
	valid := map[string]int{}
	for _, key := range s.Identity.Keys().Active("") {
		valid[key.User]++
	}
	known := map[string]userRow{}
	for _, user := range s.Identity.Users().List() {
		known[user.Name] = userRow{User: user}
	}
	for _, name := range s.Locals.Names() {
		row := known[name]
		row.Name, row.Local = name, true
		if row.Subject == "" { // nobody else has signed in by this name
			row.Groups = s.Locals.Groups(name)
		}
		known[name] = row
	}
	var rows []userRow
	for name, row := range known {
		row.Keys = valid[name]
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b userRow) int { return cmp.Compare(a.Name, b.Name) })
	return rows
}

// afterRevoking is the list in which a key stood that a user has revoked.
func afterRevoking(who policies.Identity, key identity.Key) string {
	if key.User == who.User {
		return keysPath
	}
	return adminKeysPath + "?" + url.Values{"user": {key.User}}.Encode()
}
