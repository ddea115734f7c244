package jwks

import (
	"strings"
	"testing"
)

// Among the keys that an issuer publishes are some that prove nothing.
func TestKeysThatAreNotTaken(t *testing.T) {
	keys, err := Read(strings.NewReader(`{"keys":[
		{"kty":"oct","kid":"shared","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"},
		{"kty":"strange","kid":"strange"},
		"text", null,
		{"kty":"OKP","crv":"Ed25519","kid":"good","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
		{"kty":"OKP","crv":"Ed25519","kid":"private","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}
	]}`))
	if err != nil || len(keys) != 1 || keys[0].KeyID != "good" {
		t.Errorf("got %v, %v, want the one that is good", keys, err)
	}
}
