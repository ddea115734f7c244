package web

import (
	"encoding/json"
	"regexp"
	"strings"
)

// client is a program that takes a key, with what to paste for it.
type client struct {
	ID    string // of its tab
	Name  string
	Steps []step
}

// step is one thing to copy.
type step struct {
	Say  string // what to do with it
	Copy string
	What string // it is, for the name of its button
}

// secretName is how the lines call a key among the secrets of a forge.
const secretName = "REGISTRY_KEY"

// readKey makes a shell wait for a key without showing it. In one line with the command, so that a
// line that is pasted behind it is not taken for the key. bash and zsh keep it out of their history.
const readKey = `read -rs KEY && printf %s "$KEY" | `

// clients returns the lines that give a key to clients of this site. host is the registry as the
// browser calls it, with the port; plain sites have no TLS; user is the owner of the key, and secret
// the key, which only k3s's file has in it.
func clients(host string, plain bool, user, secret string) []client {
	flag := func(name string) string {
		if plain {
			return name + " "
		}
		return ""
	}
	to := "--username " + shellWord(user) + " --password-stdin " + host
	login := "docker login " + to
	docker := []step{{"", readKey + login, "line for docker"}}
	if plain && !dockerTrusts(host) {
		docker = append(docker, step{
			"This site is plain HTTP. Add it to /etc/docker/daemon.json before, and restart Docker:",
			`{ "insecure-registries": [` + quoted(host) + `] }`, "line for daemon.json"})
	}
	forge := step{"A step of the workflow that then signs in:", "- name: Sign in to the registry\n  env:\n" +
		"    KEY: ${{ secrets." + secretName + " }}\n  run: |\n    printf %s \"$KEY\" | " + login, "step"}
	tls := flag("--tls-verify=false")
	title := strings.ReplaceAll(host, ":", " ") + " " + user
	item, rest, _ := strings.Cut(`{"title":`+quoted(title)+`,"category":"API_CREDENTIAL","fields":[`+
		`{"id":"username","type":"STRING","label":"username","value":`+quoted(user)+`},`+
		`{"id":"credential","type":"CONCEALED","label":"credential","value":"`+"\x00"+`"}]}`, "\x00")
	all := []client{
		{Name: "docker", Steps: docker},
		{Name: "podman", Steps: []step{{"", readKey + "podman login " + tls + to, "line for podman"}}},
		{Name: "skopeo", Steps: []step{
			{"", readKey + "skopeo login " + tls + to, "line for skopeo"},
			{"After that, for example:", "skopeo copy " + flag("--dest-tls-verify=false") +
				"docker-archive:image.tar docker://" + host + "/team/app:v1", "line that pushes"},
		}},
		{Name: "k3s", Steps: []step{{"Add to /etc/rancher/k3s/registries.yaml on each node, with mode 600, and restart k3s:",
			k3s(host, plain, user, secret), "lines for registries.yaml"}}},
		{Name: "Forgejo", Steps: []step{
			{"In the repository or organization: Settings, Actions, Secrets, Add secret. Its value is the key, its name:",
				secretName, "name"}, forge}},
		{Name: "GitHub", Steps: []step{
			{"In a checkout of the repository. It asks for the key:", "gh secret set " + secretName, "line for gh"}, forge}},
		{Name: "1Password", Steps: []step{
			{"", `read -rs KEY && printf %s ` + shellWord(item) + `"$KEY"` + shellWord(rest) + " | op item create -",
				"line for op"},
			{"After that, wherever a key is needed:",
				"op item get " + shellWord(title) + " --fields label=credential --reveal | " + login, "line that signs in"},
		}},
	}
	for i := range all {
		all[i].ID = string('1' + rune(i))
	}
	return all
}

// k3s is an entry of registries.yaml. JSON texts are YAML.
func k3s(host string, plain bool, user, secret string) string {
	var b strings.Builder
	if plain {
		b.WriteString("mirrors:\n  " + quoted(host) + ":\n    endpoint:\n      - " + quoted("http://"+host) + "\n")
	}
	b.WriteString("configs:\n  " + quoted(host) + ":\n    auth:\n" +
		"      username: " + quoted(user) + "\n      password: " + quoted(secret))
	return b.String()
}

// dockerTrusts reports whether Docker's daemon uses plain HTTP for a host without being told.
func dockerTrusts(host string) bool {
	return strings.HasPrefix(host, "localhost") || strings.HasPrefix(host, "127.") || strings.HasPrefix(host, "[::1]")
}

// quoted is a text as JSON.
func quoted(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(s) // a string always can be
	return strings.TrimSuffix(b.String(), "\n")
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shellWord is a text as one word of a POSIX shell.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
