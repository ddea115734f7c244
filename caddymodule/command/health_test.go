package command

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestOnlyAHealthyRegistryIsHealthy(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int
		body   string
		want   string // in the error; "" for none
	}{
		{"the word", http.StatusOK, "ok\n", ""},
		{"the report", http.StatusOK, `{"status":"ok","parts":[{"name":"storage","state":"ok"}]}`, ""},
		{"not ready", http.StatusServiceUnavailable, "unavailable\n", "not healthy"},
		{"not ready, with a report", http.StatusServiceUnavailable, `{"status":"unavailable"}`, "not healthy"},
		// Other programs that may have the address.
		{"Caddy without the directive", http.StatusOK, "", "not as a registry does"},
		{"a page", http.StatusOK, "<html>ok</html>", "not as a registry does"},
		{"a report of another kind", http.StatusOK, `{"status":"UP"}`, "not as a registry does"},
		{"a redirect", http.StatusFound, "", "not as a registry does"},
		{"another server", http.StatusNotFound, "not found", "not as a registry does"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/elsewhere" {
					w.Write([]byte("ok\n"))
					return
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(row.status)
				w.Write([]byte(row.body))
			}))
			defer s.Close()
			text, err := askHealth(t.Context(), s.URL+"/readyz")
			if text != strings.TrimSpace(row.body) {
				t.Errorf("got the text %q, want %q", text, row.body)
			}
			if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("got the error %v, want %q", err, row.want)
			}
		})
	}
}

func TestHealthOfNobody(t *testing.T) {
	s := httptest.NewServer(nil)
	s.Close()
	if text, err := askHealth(t.Context(), s.URL+"/readyz"); err == nil || text != "" {
		t.Errorf("got %q and %v, want an error", text, err)
	}
}
