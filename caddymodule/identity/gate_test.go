package identity

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/token"
	"github.com/eblume/caddy-registry/core"
)

// Docker sends its credentials for Docker Hub to its mirror. A caller with an
// unknown credential may get only content that only the fallback has.
func TestUnknownCredentialsAtASiteWithAFallback(t *testing.T) {
	m := start(t)
	tokens, err := token.Open(context.Background(), m.bucket, nil, m.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	defer tokens.Close()
	key, _ := m.makeKey(robot)
	for _, readOnly := range []bool{true, false} {
		gate := &Gate{
			Chain: &Chain{Store: m.Store, Tokens: tokens}, ReadOnly: readOnly,
			FallbackOnly: func(name string) bool { return strings.HasPrefix(name, "library/") },
		}
		for _, row := range []struct {
			name   string
			secret string
			pulls  []string
			want   error
		}{
			{"a pull from the fallback", "hub-password", []string{"library/nginx"}, nil},
			{"two such pulls", "hub-password", []string{"library/nginx", "library/redis"}, nil},
			{"docker login", "hub-password", nil, core.ErrUnauthorized},
			{"a private name", "hub-password", []string{"blumeops/app"}, core.ErrUnauthorized},
			{"one private name among others", "hub-password", []string{"library/nginx", "blumeops/app"}, core.ErrUnauthorized},
			// A key of ours is never an unknown credential, even if it is no
			// longer valid.
			{"a key with a letter changed", key[:len(key)-1] + "!", []string{"library/nginx"}, core.ErrUnauthorized},
		} {
			who, err := gate.Admit(context.Background(), credential(row.secret), nil, Connection{Loopback: true}, row.pulls)
			if !errors.Is(err, row.want) || !who.Anonymous() {
				t.Errorf("%s, read_only %v: got %v, %v; want %v", row.name, readOnly, who, err, row.want)
			}
		}
		for range 20 {
			if _, err := gate.Admit(context.Background(), credential("hub-password"), nil, Connection{Loopback: true}, []string{"library/nginx"}); err != nil {
				t.Fatalf("a pull was counted as a failure: %v", err)
			}
		}
	}
}

func credential(secret string) Credential {
	var c Credential
	c.Host, c.Address, c.User = "registry.example.org", "192.0.2.1", "someone"
	c.setSecret(secret)
	return c
}
