package pages

import (
	"strings"

	"github.com/opencontainers/go-digest"
)

// tool is a program that pulls, with its lines.
type tool struct {
	ID    string
	Name  string
	Lines []string
	Note  string
}

// pulls returns the lines that pull an image from this site, by its tag and by its digest; either
// may be empty.
func (s *Site) pulls(kind, repo, tag string, d digest.Digest) []tool {
	name := s.Host + "/" + repo
	var names []string
	if tag != "" {
		names = append(names, name+":"+tag)
	}
	if d != "" {
		names = append(names, name+"@"+string(d))
	}
	plain := s.Plain && !strings.HasPrefix(s.Host, "localhost") && !strings.HasPrefix(s.Host, "127.")
	flag := func(name string) string {
		if s.Plain {
			return name + " "
		}
		return ""
	}
	lines := func(before, after string) (all []string) {
		for _, name := range names {
			all = append(all, before+name+after)
		}
		return all
	}
	var tools []tool
	switch kind {
	case kindChart:
		chart := tool{Name: "helm", Lines: lines("helm pull "+flag("--plain-http")+"oci://", "")}
		if tag != "" {
			chart.Lines[0] = "helm pull " + flag("--plain-http") + "oci://" + name + " --version " + tag
		}
		tools = append(tools, chart)
		fallthrough
	case kindArtifact, kindWasm:
		tools = append(tools, tool{Name: "oras", Lines: lines("oras pull "+flag("--plain-http"), "")})
	default:
		docker := tool{Name: "docker", Lines: lines("docker pull ", "")}
		if plain {
			docker.Note = "This site is plain HTTP: docker needs " + s.Host + " among its insecure-registries."
		}
		tools = append(tools, docker,
			tool{Name: "podman", Lines: lines("podman pull "+flag("--tls-verify=false"), "")},
			tool{Name: "Kubernetes", Lines: lines("image: ", "")},
			tool{Name: "containerd", Lines: lines("ctr images pull "+flag("--plain-http"), "")})
	}
	tools = append(tools, tool{Name: "skopeo", Lines: lines("skopeo copy "+flag("--src-tls-verify=false")+"docker://", " oci:image")},
		tool{Name: "name", Lines: names})
	for i := range tools {
		tools[i].ID = string('1' + rune(i))
	}
	return tools
}
