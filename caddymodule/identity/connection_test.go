package identity

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Trusted proxies describe the client's connection in these forms. From others they
// only show that there is a proxy.
func TestWhatATrustedProxySays(t *testing.T) {
	for _, row := range []struct {
		name   string
		host   string
		fields []string // name and value
		want   string   // the base of the site
	}{
		{"nothing", "reg.example", nil, "http://reg.example"},
		{"nothing, with a port", "reg.example:5000", nil, "http://reg.example:5000"},

		// nginx, Traefik, HAProxy, load balancers.
		{"a host with its port", "reg.example:86", []string{"X-Forwarded-Proto", "https"}, "https://reg.example:86"},
		{"another host", "inner:5000", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "reg.example:86"}, "https://reg.example:86"},
		{"another host without a port", "inner:5000", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "reg.example"}, "https://reg.example"},
		{"a port beside the host", "reg.example", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Port", "86"}, "https://reg.example:86"},
		{"a port beside another host", "inner:5000", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "reg.example", "X-Forwarded-Port", "86"}, "https://reg.example:86"},
		{"a port beside a host that has one", "reg.example:87", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Port", "86"}, "https://reg.example:87"},
		{"the port of https", "reg.example", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Port", "443"}, "https://reg.example"},
		{"the port of http", "reg.example", []string{"X-Forwarded-Proto", "http", "X-Forwarded-Port", "80"}, "http://reg.example"},
		{"the port of http by https", "reg.example", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Port", "80"}, "https://reg.example:80"},
		{"a port alone", "reg.example", []string{"X-Forwarded-Port", "8080"}, "http://reg.example:8080"},
		{"several proxies", "inner", []string{"X-Forwarded-Proto", "https, http", "X-Forwarded-Host", "reg.example, inner", "X-Forwarded-Port", "86, 5000"}, "https://reg.example:86"},
		{"an IPv6 address", "[2001:db8::1]", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Port", "86"}, "https://[2001:db8::1]:86"},
		{"an IPv6 address with a port", "[2001:db8::1]:87", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Port", "86"}, "https://[2001:db8::1]:87"},
		{"a scheme in capitals", "reg.example", []string{"X-Forwarded-Proto", "HTTPS"}, "https://reg.example"},

		// RFC 7239.
		{"Forwarded", "inner:5000", []string{"Forwarded", `for=192.0.2.1;proto=https;host="reg.example:86"`}, "https://reg.example:86"},
		{"Forwarded, in any order and case", "inner", []string{"Forwarded", `Host=reg.example;BY=_x; Proto=https ; For="[2001:db8::1]:4711"`}, "https://reg.example"},
		{"Forwarded by several", "inner", []string{"Forwarded", `proto=https;host="reg.example:86", proto=http;host=middle`}, "https://reg.example:86"},
		{"Forwarded with a comma in quotes", "inner", []string{"Forwarded", `for="a,b;c\"d";proto=https;host=reg.example`}, "https://reg.example"},
		{"Forwarded without a host", "reg.example:86", []string{"Forwarded", "proto=https"}, "https://reg.example:86"},
		{"Forwarded without a scheme", "inner", []string{"Forwarded", "host=reg.example"}, "http://reg.example"},
		{"Forwarded with a port beside it", "inner", []string{"Forwarded", "proto=https;host=reg.example", "X-Forwarded-Port", "86"}, "https://reg.example:86"},
		{"Forwarded for somebody alone", "reg.example", []string{"Forwarded", "for=192.0.2.1"}, "http://reg.example"},
		// A proxy that speaks the one form passes the other on as the client wrote it.
		{"both, of which one is a client's", "reg.example:86", []string{"X-Forwarded-Proto", "http", "Forwarded", "proto=https;host=evil"}, "http://reg.example:86"},

		// Values that no proxy should send.
		{"no port", "reg.example", []string{"X-Forwarded-Port", "x"}, "http://reg.example"},
		{"port 0", "reg.example", []string{"X-Forwarded-Port", "0"}, "http://reg.example"},
		{"an invalid port", "reg.example", []string{"X-Forwarded-Port", "65536"}, "http://reg.example"},
		{"a signed port", "reg.example", []string{"X-Forwarded-Port", "+86"}, "http://reg.example"},
		{"a port with a path", "reg.example", []string{"X-Forwarded-Port", "86/x"}, "http://reg.example"},
		{"a host with a quote", "reg.example", []string{"Forwarded", `host="a\"b"`}, "http://reg.example"},
		{"a host with a path", "reg.example", []string{"X-Forwarded-Host", "evil/x"}, "http://reg.example"},
		{"an open quote", "reg.example", []string{"Forwarded", `proto=https;host="evil`}, "http://reg.example"},
		{"a parameter twice", "reg.example", []string{"Forwarded", "proto=https;host=a;host=b"}, "http://reg.example"},
		{"a parameter without a value", "reg.example", []string{"Forwarded", "proto=https;host"}, "http://reg.example"},
		{"an empty value", "reg.example", []string{"Forwarded", "proto=;host=evil"}, "http://reg.example"},
		{"words between", "reg.example", []string{"Forwarded", "proto=https x;host=evil"}, "http://reg.example"},
		{"another scheme", "reg.example", []string{"Forwarded", "proto=gopher"}, "http://reg.example"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := &http.Request{Host: row.host, Header: http.Header{}, RemoteAddr: "127.0.0.1:4711"}
			for i := 0; i < len(row.fields); i += 2 {
				r.Header.Add(row.fields[i], row.fields[i+1])
			}
			local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5000}
			r = r.WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, local))
			if got := ConnectionOf(r, true); got.Base() != row.want {
				t.Errorf("got %s, want %s", got.Base(), row.want)
			}
			got := ConnectionOf(r, false)
			if got.Base() != "http://"+row.host || got.Loopback != (len(row.fields) == 0) {
				t.Errorf("of a stranger: got %s, loopback %v", got.Base(), got.Loopback)
			}
			r.TLS = new(tls.ConnectionState)
			if got := ConnectionOf(r, false); !got.HTTPS {
				t.Error("a stranger took its own TLS away")
			}
		})
	}
}

// An empty field counts as absent: scripts send it if their variable is not set.
func TestAnEmptyAuthorizationFieldIsNone(t *testing.T) {
	for _, value := range []string{"", " ", "\t "} {
		r := &http.Request{Header: http.Header{"Authorization": {value}}}
		if c, err := ReadCredential(r, AtRegistry); err != nil || c.Presented() || c.Explicit {
			t.Errorf("%q: got %+v, %v", value, c, err)
		}
	}
	for _, fields := range [][]string{{"", ""}, {"", "Bearer x"}, {"Basic"}, {"Bearer"}, {"x"}} {
		r := &http.Request{Header: http.Header{"Authorization": fields}}
		if c, err := ReadCredential(r, AtRegistry); err == nil {
			t.Errorf("%q: got %+v", fields, c)
		}
	}
}

// The host that a proxy names ends in a challenge.
func FuzzForwardedField(f *testing.F) {
	f.Add(`for=192.0.2.1;proto=https;host="reg.example:86"`, "86")
	f.Add(`host="a\"b",proto=https`, "0")
	f.Fuzz(func(t *testing.T, field, port string) {
		r := &http.Request{Host: "reg.example", Header: http.Header{"Forwarded": {field}, "X-Forwarded-Port": {port}}, RemoteAddr: "127.0.0.1:1"}
		c := ConnectionOf(r, true)
		if strings.ContainsAny(c.Base(), "\", \r\n\\?#@") || strings.Count(c.Base(), "/") != 2 || c.Loopback {
			t.Errorf("%q %q: got %q", field, port, c.Base())
		}
	})
}
