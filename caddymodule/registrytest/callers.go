package registrytest

import (
	"encoding/base64"
	"encoding/json"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/running"
)

// Basic returns an Authorization field with a user and a password.
func Basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// Callers returns who is known to the storage of the configuration that runs.
func Callers(t *testing.T) *running.Callers {
	t.Helper()
	found := Storage(t).Callers()
	if found == nil {
		t.Fatal("no storage is open")
	}
	return found
}

// Storage returns the storage of the configuration that runs. It waits until the storages of
// earlier configurations are closed.
func Storage(t testing.TB) *running.Storage {
	t.Helper()
	var all []*running.Storage
	Eventually(t, "one storage is open", func() bool {
		all = running.Storages()
		return len(all) == 1
	})
	return all[0]
}

// Key makes an API key of the service account zot-ci, which is in the group
// artifact-workloads, and returns its secret and its record.
func Key(t *testing.T) (string, identity.Key) {
	t.Helper()
	secret, key, err := Callers(t).Identity.Keys().Create(t.Context(), identity.NewKey{
		User: "zot-ci", Name: "ci", Service: true, Groups: []string{"artifact-workloads"}, By: "command",
	})
	if err != nil {
		t.Fatal(err)
	}
	return secret, key
}

// Token returns the token of an answer of the token endpoint, which it checks.
func Token(t *testing.T, body []byte) string {
	t.Helper()
	var answer struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
		IssuedAt    string `json:"issued_at"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	if answer.Token == "" || answer.Token != answer.AccessToken || answer.ExpiresIn < 60 || answer.IssuedAt == "" {
		t.Fatalf("got %s", body)
	}
	return answer.Token
}

// Password is the password of local users.
const Password = "correct horse battery staple"

// PasswordHash returns a hash of Password, as `caddy hash-password` does.
var PasswordHash = sync.OnceValue(func() string {
	hash, err := bcrypt.GenerateFromPassword([]byte(Password), bcrypt.DefaultCost)
	if err != nil {
		panic(err)
	}
	return string(hash)
})
