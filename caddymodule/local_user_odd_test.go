package caddymodule_test

import (
	"net/http"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// Passwords and names with every character that shells, URLs, forms and Basic trip over
// are taken as they are: by GET and POST of /token and on the login page.
func TestPasswordsOfEveryCharacter(t *testing.T) {
	const odd = `lZ7"iK5~fK8%vM3*lG6%qE0;dA4,cW6 +&:^)'<>{}\ä€=` + "%2B%zz"
	port, dir := registrytest.FreePort(t), t.TempDir()
	registrytest.Serve(t, port, dir, localPolicy+"local_user erich "+hashOf(t, odd)+
		" admins\nlocal_user a&b@example.org "+hashOf(t, odd)+" admins\n",
		"respond /user/* next")
	v := visit(t, port, nil)
	form := []string{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}
	for _, user := range []string{"erich", "a&b@example.org"} {
		v.Want(http.StatusOK, "GET", "/token?service=x&account=x&client_id=docker&offline_token=true", nil,
			"Authorization", registrytest.Basic(user, odd))
		v.Want(http.StatusOK, "POST", "/token", grant(user, odd), form...)
		v.page(http.StatusSeeOther, "/login", passwordForm(user, odd))
	}
	// Decoded as a form or a URL it would be another password.
	for _, wrong := range []string{`lZ7"iK5~fK8%vM3*lG6%qE0;dA4,cW6 +&:^)'<>{}\ä€=` + "+%zz", odd + " ", odd[:40]} {
		v.Want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", registrytest.Basic("erich", wrong))
	}
}
