package examples

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/eblume/caddy-registry/integration/server"
)

// manifests are the objects of examples/kubernetes, one of each kind.
type manifests struct {
	namespace core.Namespace
	config    core.ConfigMap
	secret    core.Secret
	service   core.Service
	stateful  apps.StatefulSet
	ingress   networking.Ingress
}

// decoded decodes the example strictly: an unknown or duplicate field is an error.
func decoded(t *testing.T) *manifests {
	t.Helper()
	m := &manifests{}
	const namespace = "registry"
	into := map[string]meta.Object{
		"v1/Namespace": &m.namespace, "v1/ConfigMap": &m.config, "v1/Secret": &m.secret, "v1/Service": &m.service,
		"apps/v1/StatefulSet": &m.stateful, "networking.k8s.io/v1/Ingress": &m.ingress,
	}
	files, err := filepath.Glob(path(t, "kubernetes", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for _, document := range strings.Split(read(t, "kubernetes", filepath.Base(file)), "\n---\n") {
			var kind meta.TypeMeta
			if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			name := kind.APIVersion + "/" + kind.Kind
			object := into[name]
			if object == nil {
				t.Fatalf("%s: %s is unknown, or there twice", file, name)
			}
			if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
				t.Fatalf("%s: %s: %v", file, name, err)
			}
			if name != "v1/Namespace" && object.GetNamespace() != namespace {
				t.Errorf("%s: %s is in the namespace %q, want %q", file, name, object.GetNamespace(), namespace)
			}
			delete(into, name)
		}
	}
	if len(into) > 0 || m.namespace.Name != namespace {
		t.Fatalf("the example lacks %v, or its namespace is %q", into, m.namespace.Name)
	}
	return m
}

func TestTheKubernetesManifestsFitTheirCaddyfile(t *testing.T) {
	m := decoded(t)
	c := adapted(t, m.config.Data["Caddyfile"])
	pod := m.stateful.Spec.Template.Spec
	registry := pod.Containers[0]
	pinned(t, registry.Image)

	// The standard "restricted" of Pod Security demands these.
	security, own := pod.SecurityContext, registry.SecurityContext
	if !*security.RunAsNonRoot || security.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault ||
		*own.AllowPrivilegeEscalation || !slices.Equal(own.Capabilities.Drop, []core.Capability{"ALL"}) || !*own.ReadOnlyRootFilesystem {
		t.Errorf("got the security contexts %v and %v, want restricted ones", security, own)
	}
	if m.namespace.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Error("the namespace does not enforce the standard that its pod keeps")
	}

	// One process, which the objects name alike.
	labels := m.stateful.Spec.Template.Labels
	for name, selector := range map[string]map[string]string{
		"StatefulSet": m.stateful.Spec.Selector.MatchLabels, "Service": m.service.Spec.Selector,
	} {
		for key, value := range selector {
			if labels[key] != value {
				t.Errorf("the %s selects %s=%s, but the pod has the labels %v", name, key, value, labels)
			}
		}
	}
	if *m.stateful.Spec.Replicas != 1 || m.stateful.Spec.ServiceName != m.service.Name {
		t.Errorf("got %d replicas of the service %s", *m.stateful.Spec.Replicas, m.stateful.Spec.ServiceName)
	}

	// Volumes and files.
	provided, mounted := []string{}, map[string]string{}
	for _, mount := range registry.VolumeMounts {
		mounted[mount.Name] = mount.MountPath
	}
	for _, volume := range pod.Volumes {
		switch {
		case volume.Secret != nil:
			if volume.Secret.SecretName != m.secret.Name {
				t.Errorf("there is no secret %s", volume.Secret.SecretName)
			}
			for key := range m.secret.StringData {
				provided = append(provided, mounted[volume.Name]+"/"+key)
			}
		case volume.ConfigMap != nil:
			if volume.ConfigMap.Name != m.config.Name || mounted[volume.Name] != "/etc/caddy-registry" {
				t.Errorf("the ConfigMap %s is at %s, want %s at the directory of the image's Caddyfile",
					volume.ConfigMap.Name, mounted[volume.Name], m.config.Name)
			}
		}
	}
	c.fits(t, mounted[m.stateful.Spec.VolumeClaimTemplates[0].Name], provided,
		time.Duration(*pod.TerminationGracePeriodSeconds)*time.Second)

	// Ports.
	named := map[string]int32{}
	for _, port := range registry.Ports {
		named[port.Name] = port.ContainerPort
		if !slices.Contains(c.ports, int(port.ContainerPort)) || slices.Contains(c.loopback, int(port.ContainerPort)) {
			t.Errorf("the Caddyfile does not listen on the port %s, %d", port.Name, port.ContainerPort)
		}
	}
	if got := m.service.Spec.Ports[0].TargetPort; got != intstr.FromString("http") || named["http"] == 0 {
		t.Errorf("the Service leads to the port %v, but the pod has %v", got, named)
	}
	to := m.ingress.Spec.Rules[0].HTTP.Paths[0].Backend.Service
	if to.Name != m.service.Name || to.Port.Name != m.service.Spec.Ports[0].Name {
		t.Errorf("the Ingress leads to %v", to)
	}
	host := "url https://" + m.ingress.Spec.Rules[0].Host + "\n"
	if !strings.Contains(m.config.Data["Caddyfile"], host) || m.ingress.Spec.TLS[0].Hosts[0] != m.ingress.Spec.Rules[0].Host {
		t.Errorf("the Caddyfile lacks %q of the Ingress", host)
	}
}

// The Caddyfile of the ConfigMap is served but for paths and ports, and the probes succeed on
// it, as from the kubelet.
func TestTheKubernetesManifestsServe(t *testing.T) {
	m := decoded(t)
	secret := write(t, m.secret.StringData["admin"])
	pod := m.stateful.Spec.Template.Spec.Containers[0]
	caddyfile := func(secret string) string {
		return replaced(t, m.config.Data["Caddyfile"],
			"/data/storage", "{$REGISTRY_DATA}",
			"/run/secrets/registry/admin", secret,
			"http://:5050", "http://:{$REGISTRY_PORT}",
			"http://:9100", fmt.Sprintf("http://127.0.0.1:%d", server.FreePort(t)),
			"10.42.0.0/16", "127.0.0.1")
	}
	// The placeholder is refused, and the message says what to do.
	refused := command(t, server.Binary(t), "run", "--adapter", "caddyfile", "--config", write(t, replaced(t, caddyfile(secret), "admin unix//tmp/admin.sock", "admin off")))
	refused.Env = []string{"HOME=" + t.TempDir(), "REGISTRY_DATA=" + t.TempDir(), fmt.Sprintf("REGISTRY_PORT=%d", server.FreePort(t))}
	if out, err := refused.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("hash-password")) {
		t.Errorf("with the placeholder: got %v: %s", err, out)
	}

	hash, err := command(t, server.Binary(t), "hash-password", "--algorithm", "bcrypt", "--bcrypt-cost", "10", "--plaintext", "secret").Output()
	if err != nil {
		t.Fatal(err)
	}
	s := server.Start(t, server.Options{Caddyfile: caddyfile(write(t, strings.TrimSpace(string(hash))))})
	client := server.Client(patience)
	defer client.CloseIdleConnections()
	get := func(path string, fields ...string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "10.42.0.7:5050"
		for i := 0; i < len(fields); i += 2 {
			r.Header.Set(fields[i], fields[i+1])
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response, string(body)
	}
	for name, probe := range map[string]*core.Probe{"startup": pod.StartupProbe, "liveness": pod.LivenessProbe, "readiness": pod.ReadinessProbe} {
		if probe.HTTPGet.Port != intstr.FromString("http") {
			t.Errorf("the %s probe is for the port %v", name, probe.HTTPGet.Port)
		}
		if response, body := get(probe.HTTPGet.Path); response.StatusCode != http.StatusOK || body != "ok\n" {
			t.Errorf("the %s probe is answered %s, %q", name, response.Status, body)
		}
	}
	// The Ingress controller says that its client came over https.
	forwarded := []string{"X-Forwarded-Proto", "https", "X-Forwarded-For", "192.0.2.1", "X-Forwarded-Host", m.ingress.Spec.Rules[0].Host}
	if response, body := get("/login", forwarded...); response.StatusCode != http.StatusOK || !strings.Contains(body, "password") {
		t.Errorf("the page for signing in is answered %s, %s", response.Status, body)
	}
}
