package instance_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/instance"
)

func TestLook(t *testing.T) {
	answer := http.HandlerFunc(instance.Answer)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, row := range []struct {
		name    string
		handler http.Handler
		tls     bool
		id      string
		want    instance.Seen
	}{
		{"this process", answer, false, instance.ID, instance.Seen{Same: 16}},
		{"this process by TLS", answer, true, instance.ID, instance.Seen{Same: 16}},
		{"another process", answer, false, "another", instance.Seen{Other: 1}},
		{"another process behind a proxy", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Via", "1.1 Caddy")
			instance.Answer(w, r)
		}), false, "another", instance.Seen{Unknown: 16}},
		{"another program", http.NotFoundHandler(), false, instance.ID, instance.Seen{Unknown: 16}},
		{"another program that redirects", http.RedirectHandler("http://"+closed.Addr().String(), http.StatusFound), false, instance.ID, instance.Seen{Unknown: 16}},
		{"nobody", nil, false, instance.ID, instance.Seen{Nobody: true}},
	} {
		t.Run(row.name, func(t *testing.T) {
			base := &url.URL{Scheme: "http", Host: closed.Addr().String()}
			if row.handler != nil {
				server := httptest.NewUnstartedServer(row.handler)
				defer server.Close()
				if row.tls {
					server.StartTLS()
				} else {
					server.Start()
				}
				base, _ = url.Parse(server.URL)
			}
			if got := instance.Look(t.Context(), base.Host, base, row.id); got != row.want {
				t.Errorf("got %+v, want %+v", got, row.want)
			}
		})
	}
}

func TestTheIDIsInNoAnswer(t *testing.T) {
	for _, asked := range []string{"", "another", instance.ID} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/v2/", nil)
		if asked != "" {
			r.Header.Set("Registry-Instance", asked)
		}
		instance.Answer(w, r)
		got := w.Header().Get("Registry-Instance")
		if want := map[string]string{"": "", "another": "other", instance.ID: "same"}[asked]; got != want || strings.Contains(got, instance.ID) {
			t.Errorf("asked with %q: got %q, want %q", asked, got, want)
		}
	}
}
