package demo

// Reference is the name of the image as clients take it.
func (p *Plan) Reference() string { return p.Base.Host + "/" + p.Repository + ":" + imageTag }

// Commands pull the image on this machine.
func (p *Plan) Commands() []string {
	ref, tls, src, insecure := p.Reference(), "", "", ""
	if p.Base.Scheme == "http" {
		tls, src, insecure = "--tls-verify=false ", "--src-tls-verify=false ", "--insecure "
	}
	return []string{
		"docker pull " + ref,
		"podman pull " + tls + ref,
		"skopeo copy " + src + "docker://" + ref + " oci:hello:" + imageTag,
		"crane pull " + insecure + ref + " hello.tar",
	}
}

// Notes are what the commands need besides.
func (p *Plan) Notes() (notes []string) {
	host := p.Base.Hostname()
	if p.Base.Scheme == "http" && !local(host) {
		notes = append(notes, "Docker uses plain HTTP with localhost alone: add "+p.Base.Host+" to insecure-registries in its daemon.json.")
	}
	if p.PrivateCA {
		notes = append(notes, "The certificate is signed by Caddy's own authority: the client must trust pki/authorities/local/root.crt in Caddy's data directory.")
	}
	if !p.Public {
		notes = append(notes, "Anonymous callers may not read it. Log in first: make a key with `caddy-registry registry key create`, then use it as the password of docker login "+p.Base.Host+".")
	}
	return notes
}
