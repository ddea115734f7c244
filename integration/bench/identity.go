package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os/exec"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// identity measures the cost of authentication: GET of a manifest by tag with an API
// key and with a registry token beside the anonymous one, and a token for a key.
func (b *bench) identity() error {
	data, err := b.folder("data")
	if err != nil {
		return err
	}
	body := indexManifest("identity")
	const repo = "team/one"
	tag := tagNames(1)[0]
	if err := generate(b.ctx, data, func(put putTags) error { return put(repo, body, tagNames(1)) }); err != nil {
		return err
	}
	product, err := b.caddy("caddy-registry", fmt.Sprintf("oci {\nstorage file %q\npolicy {\nallow anonymous read fetch\nallow group artifact-workloads read fetch create\nallow group admins *\n}\n}", data), "oci_registry", nil)
	if err != nil {
		return err
	}
	manifest := "/v2/" + repo + "/manifests/" + tag
	anonymous, err := b.asked("anonymous", product, manifest, ocispec.MediaTypeImageIndex, body)
	if err != nil {
		return err
	}
	key, err := b.key(data)
	if err != nil {
		return err
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("ci:"+key))
	token, err := getToken(product.url()+"/token", basic)
	if err != nil {
		return err
	}
	contenders := []contender{anonymous}
	for _, c := range []struct {
		name, path, authorization string
		want                      []byte
	}{
		{"API key as Basic", manifest, basic, body},
		{"API key as Bearer", manifest, "Bearer " + key, body},
		{"registry token", manifest, "Bearer " + token, body},
		{"token for an API key", "/token?service=bench&scope=repository:" + repo + ":pull", basic, nil},
		{"anonymous token", "/token?service=bench&scope=repository:" + repo + ":pull", "", nil},
	} {
		var fields []string
		if c.authorization != "" {
			fields = []string{"Authorization: " + c.authorization}
		}
		one, err := b.asked(c.name, product, c.path, ocispec.MediaTypeImageIndex, c.want, fields...)
		if err != nil {
			return err
		}
		contenders = append(contenders, one)
	}
	return b.compare("GET of a manifest by tag with a login, and of tokens, 16 connections", "requests/s", "CPU per request", 0, contenders)
}

// key makes an API key in a storage whose server runs.
func (b *bench) key(data string) (string, error) {
	out, err := exec.CommandContext(b.ctx, b.product, "registry", "key", "create", "--storage", data, "--user", "ci", "--group", "artifact-workloads").Output()
	if err != nil {
		return "", fmt.Errorf("key create: %w", err)
	}
	return string(bytes.TrimSpace(out)), nil
}

// getToken requests a registry token.
func getToken(url, authorization string) (string, error) {
	_, body, err := getAs(url, "application/json", nil, "Authorization: "+authorization)
	if err != nil {
		return "", err
	}
	var answer struct {
		Token string `json:"token"`
	}
	err = json.Unmarshal(body, &answer)
	return answer.Token, err
}
