package typos

import "github.com/eblume/caddy-registry/caddymodule/identity"

// Known are the users that a storage knows, and the groups that they and its keys have.
func Known(store *identity.Store) (users, groups []string) {
	for _, key := range store.Keys().List("") {
		users, groups = append(users, key.User), append(groups, key.Groups...)
	}
	for _, user := range store.Users().List() {
		users, groups = append(users, user.Name), append(groups, user.Groups...)
	}
	return users, groups
}
