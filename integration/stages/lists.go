package main

// The two modules, seen from the integration directory.
const (
	product     = ".."
	integration = "."
)

// lists has the stages of each target.
var lists = map[string]func() []stage{
	"check":    check,
	"test":     func() []stage { return append(check(), proof("")...) },
	"test-all": func() []stage { return append(check(), proof("1")...) },
}

// check needs no other program than Go's and takes a minute or two.
func check() []stage {
	return []stage{
		{"gofmt", []command{{dir: product, args: []string{"gofmt", "-l", "."}, silent: true}}},
		{"english", []command{{dir: integration, args: []string{"go", "run", "./english", product}}}},
		{"vet", both("go", "vet", "./...")},
		{"staticcheck", []command{
			{dir: integration, args: []string{"go", "run", "./tools", "-only", "staticcheck"}},
			{dir: product, args: []string{"bin/tools/staticcheck", "./..."}},
			{dir: integration, args: []string{"../bin/tools/staticcheck", "./..."}},
		}},
		{"govulncheck", []command{{dir: integration, args: []string{"go", "run", "./vulns"}}}},
		{"darwin/arm64", []command{
			darwin("go", "vet", "./..."),
			darwin("go", "build", "./..."),
			{dir: integration, args: []string{
				"go", "run", "./xbuild", "-os", "darwin", "-arch", "arm64", "-o", "../bin/caddy-registry-darwin-arm64",
			}},
		}},
	}
}

// proof runs every test; slow is the value of REGISTRY_SLOW, which turns on those
// that a fresh machine could not finish in the time that CI has.
func proof(slow string) []stage {
	tools, limit := []string{"go", "run", "./tools"}, "15m"
	if slow != "" {
		limit = "60m"
		tools = append(tools, "-slow")
	}
	return []stage{
		{"unit and contract", []command{{
			dir: product,
			env: []string{"REGISTRY_SLOW=" + slow},
			// The arithmetic of bcrypt shares nothing, and each comparison of a password
			// would take ten times as long if the race detector watched it.
			args: []string{"go", "test", "-race", "-gcflags=golang.org/x/crypto/blowfish=-race=false", "-timeout=" + limit, "./..."},
		}}},
		{"tools", []command{{dir: integration, args: tools}}},
		{"build", []command{{dir: integration, args: []string{"go", "run", "./xbuild"}}}},
		{"integration", []command{{
			dir: integration,
			env: []string{"REGISTRY_SLOW=" + slow},
			// One package at a time: each measures or overloads its own server, and there are
			// two cores. No result comes from the test cache, which does not know that the
			// binary has changed.
			args: []string{"go", "test", "-count=1", "-race", "-p=1", "-timeout=30m", "./..."},
		}}},
	}
}

// both is a command run in both modules.
func both(args ...string) []command {
	return []command{{dir: product, args: args}, {dir: integration, args: args}}
}

// darwin is a command of the product's module, run for the second platform.
func darwin(args ...string) command {
	return command{dir: product, env: []string{"GOOS=darwin", "GOARCH=arm64", "CGO_ENABLED=0"}, args: args}
}
