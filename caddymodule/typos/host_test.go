package typos

import "testing"

func TestHostsThatAreMisspelt(t *testing.T) {
	for host, want := range map[string]string{
		"docker.oi": "docker.io", "dcoker.io": "docker.io", "doker.io": "docker.io", "dockerr.io": "docker.io",
		"gchr.io": "ghcr.io", "qauy.io": "quay.io", "quay.oi": "quay.io", "registry.k8.io": "registry.k8s.io", "registy.k8s.io": "registry.k8s.io",
		"mcr.micorsoft.com": "mcr.microsoft.com", "public.ecr.asw": "public.ecr.aws",
		// Hosts that exist, or may exist.
		"docker.io": "", "gcr.io": "", "ghcr.io": "", "us.gcr.io": "", "cr.io": "", "ocr.io": "", "hcr.io": "", "ncr.io": "",
		"registry.k3s.io": "", "docker.example.org": "", "registry.example.org": "", "quay.example.org": "", "docker.com": "",
		"git.codeberg.org": "", "mirrored.test": "", "localhost": "", "": "",
	} {
		if got := Host(host); got != want {
			t.Errorf("%s: got %q, want %q", host, got, want)
		}
	}
}
