package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// server is a contender that runs.
type server struct {
	*process
	name string
	host string // address and port
	tls  bool
}

func (s *server) url() string {
	if s.tls {
		return "https://" + s.host
	}
	return "http://" + s.host
}

// freeAddress returns an unused address of loopback.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// registry starts the product over the storage data. With a certificate (the paths of
// the chain and of the key) it serves TLS.
func (b *bench) registry(data string, certificate ...string) (*server, error) {
	return b.caddy("caddy-registry", fmt.Sprintf("oci {\nstorage file %q\npolicy {\nallow anonymous *\n}\n}", data),
		"oci_registry", certificate)
}

// fileServer starts Caddy's file_server over root.
func (b *bench) fileServer(root string, certificate ...string) (*server, error) {
	return b.caddy("file_server", "", fmt.Sprintf("root %q\nfile_server", root), certificate)
}

// caddy starts the product's binary with a site of the given directives.
func (b *bench) caddy(name, options, site string, certificate []string) (*server, error) {
	s := &server{name: name, tls: certificate != nil}
	var err error
	if s.host, err = freeAddress(); err != nil {
		return nil, err
	}
	if s.tls {
		site = fmt.Sprintf("tls %q %q\n%s", certificate[0], certificate[1], site)
	}
	config, err := b.file("Caddyfile", fmt.Sprintf("{\nadmin off\nauto_https off\n%s\n}\n%s {\nbind 127.0.0.1\n%s\n}\n", options, s.url(), site))
	if err != nil {
		return nil, err
	}
	s.process, err = b.launch(nil, b.product, "run", "--config", config, "--adapter", "caddyfile")
	return s, err
}

// respond starts Caddy's `respond` with one answer. It is configured in JSON because
// there the handler sets the fields itself: the least that Caddy can do for them.
func (b *bench) respond(header map[string][]string, body []byte) (*server, error) {
	s := &server{name: "Caddy respond"}
	var err error
	if s.host, err = freeAddress(); err != nil {
		return nil, err
	}
	type object = map[string]any
	handler := object{"handler": "static_response", "headers": header, "body": string(body)}
	config, err := json.Marshal(object{
		"admin": object{"disabled": true},
		"apps": object{"http": object{"servers": object{"one": object{
			"listen": []string{s.host},
			"routes": []object{{"handle": []object{handler}}},
		}}}},
	})
	if err != nil {
		return nil, err
	}
	path, err := b.file("caddy.json", string(config))
	if err != nil {
		return nil, err
	}
	s.process, err = b.launch(nil, b.product, "run", "--config", path)
	return s, err
}

// distributionServer starts distribution's registry as its documentation configures
// it, without request logs, and configured to accept indexes whose manifests are missing.
func (b *bench) distributionServer() (*server, error) { return b.distributionWith("") }

// distributionWith is distributionServer with more of a configuration.
func (b *bench) distributionWith(more string) (*server, error) {
	s := &server{name: "distribution"}
	data, err := b.folder("distribution")
	if err != nil {
		return nil, err
	}
	if s.host, err = freeAddress(); err != nil {
		return nil, err
	}
	config, err := b.file("config.yml", fmt.Sprintf(`version: 0.1
log:
  level: error
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: %s
  cache:
    blobdescriptor: inmemory
http:
  addr: %s
validation:
  manifests:
    indexes:
      platforms: none
%s`, data, s.host, more))
	if err != nil {
		return nil, err
	}
	s.process, err = b.launch([]string{"OTEL_TRACES_EXPORTER=none"}, b.distribution, "serve", config)
	if err != nil {
		return nil, err
	}
	return s, s.answers(b.ctx, s.url()+"/v2/_catalog?n=1")
}

// nginxServer starts nginx over root, with a worker for each core and sendfile.
func (b *bench) nginxServer(root string) (*server, error) {
	return b.nginxWith(root, "tcp_nopush on;")
}

// nginxWith is nginxServer with other directives of its block http.
func (b *bench) nginxWith(root, directives string) (*server, error) {
	s := &server{name: "nginx"}
	var err error
	if s.host, err = freeAddress(); err != nil {
		return nil, err
	}
	own, err := b.folder("nginx")
	if err != nil {
		return nil, err
	}
	// As root, nginx runs its workers as a user that cannot read the directory of the test.
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	config, err := b.file("nginx.conf", fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr; worker_processes auto; %[4]s
events {}
http {
	access_log off; sendfile on; %[5]s keepalive_requests 1000000;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	server { listen %[2]s; root %[3]s; }
}
`, own, s.host, root, user, directives))
	if err != nil {
		return nil, err
	}
	s.process, err = b.launch(nil, b.nginx, "-e", "stderr", "-p", own, "-c", config)
	return s, err
}

// file writes a file of the run's own and returns its path.
func (b *bench) file(name, content string) (string, error) {
	dir, err := b.folder("config")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, []byte(content), 0o600)
}
