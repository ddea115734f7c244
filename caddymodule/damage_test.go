package caddymodule_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// identityDamages are what disks and people do to a file.
var identityDamages = map[string]func(t *testing.T, path string){
	"flip": func(t *testing.T, path string) {
		rewrite(t, path, func(data []byte) []byte { data[len(data)/2] ^= 1; return data })
	},
	"cut": func(t *testing.T, path string) {
		rewrite(t, path, func(data []byte) []byte { return data[:len(data)/2] })
	},
	"empty": func(t *testing.T, path string) { rewrite(t, path, func([]byte) []byte { return nil }) },
	"remove": func(t *testing.T, path string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	},
}

func rewrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(data), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// One damaged record of identity stops neither the start nor anybody whom it is not
// about, and doctor names it.
func TestDamagedRecordsOfIdentity(t *testing.T) {
	port, whole := registrytest.FreePort(t), t.TempDir()
	text := func(storage string) string {
		return registrytest.Caddyfile(port, storage, localPolicy+"local_user erich "+registrytest.PasswordHash()+
			" admins", "")
	}
	registrytest.Load(t, text(whole))
	v := visit(t, port, nil)
	v.page(http.StatusSeeOther, "/login", passwordForm("erich", registrytest.Password))
	store := registrytest.Callers(t).Identity
	made := func(want identity.NewKey) (string, string) {
		t.Helper()
		secret, key, err := store.Keys().Create(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		v.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", registrytest.Basic("x", secret))
		return secret, key.ID
	}
	if _, err := store.Users().SignedIn(t.Context(),
		identity.User{Name: "ada", Issuer: "https://id.example", Subject: "1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Users().SetDisabled(t.Context(), "gone", true); err != nil {
		t.Fatal(err)
	}
	other, _ := made(identity.NewKey{User: "robot", Service: true, By: control.ByCommand})
	services, servicesID := made(identity.NewKey{User: "robot", Service: true, By: control.ByCommand,
		Lifetime: time.Hour})
	adas, _ := made(identity.NewKey{User: "ada", By: "ada"})
	if _, err := store.Keys().Announce(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop := func() {
		t.Helper()
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
		registrytest.Released(t)
	}
	stop()

	objects := func(storage string) string { return filepath.Join(storage, "identity", "objects") }
	only := func(directory string) string { // the one file in it
		t.Helper()
		files, err := os.ReadDir(filepath.Join(objects(whole), directory))
		if err != nil || len(files) != 1 {
			t.Fatalf("%v, %v", files, err)
		}
		return directory + "/" + files[0].Name()
	}
	for _, row := range []struct {
		record  string
		refused []string // of the two keys
		doctor  []string // the damages that doctor names while the server runs
	}{
		{"keys/" + servicesID, []string{services}, []string{"flip", "cut", "empty"}},
		{"users/616461", []string{adas}, []string{"flip", "cut", "empty"}},
		{"users/676f6e65", nil, []string{"flip", "cut", "empty"}},
		{"uses/" + servicesID, nil, nil},
		{only("announced"), nil, nil},
		{only("sessions"), nil, nil},
		{only("signing"), nil, []string{"flip", "cut", "empty"}},
		{only("sealing"), nil, nil}, // made good by the start
		{"site", nil, nil},          // the same
	} {
		for name, damage := range identityDamages {
			t.Run(strings.ReplaceAll(row.record, "/", " ")+" "+name, func(t *testing.T) {
				storage := t.TempDir()
				if err := os.CopyFS(storage, os.DirFS(whole)); err != nil {
					t.Fatal(err)
				}
				damage(t, filepath.Join(objects(storage), row.record))
				registrytest.Load(t, text(storage))
				defer stop()
				v := visit(t, port, nil)
				v.Want(http.StatusOK, "GET", "/v2/_catalog", nil)
				for _, secret := range []string{other, services, adas} {
					status := http.StatusOK
					if slices.Contains(row.refused, secret) {
						status = http.StatusUnauthorized
					}
					response, body := v.Do("GET", "/token", nil, "Authorization", registrytest.Basic("x", secret))
					if response.StatusCode != status {
						t.Errorf("/token: got status %d, want %d: %s", response.StatusCode, status, body)
					}
					if status == http.StatusOK {
						v.Want(status, "GET", "/v2/", nil, "Authorization", "Bearer "+registrytest.Token(t, body))
					}
					v.Want(status, "GET", "/v2/", nil, "Authorization", "Bearer "+secret)
				}
				v.page(http.StatusSeeOther, "/login", passwordForm("erich", registrytest.Password))
				v.page(http.StatusOK, "/user/apikey", nil)

				got := doctorFinds(t, storage, "identity")
				if want := !slices.Contains(row.doctor, name); (got.Level == doctor.OK) != want {
					t.Errorf("doctor says %+v, want ok %v", got, want)
				}
			})
		}
	}

	// Damage that comes while the server runs is met by the next start alone.
	for name, damage := range identityDamages {
		t.Run("while serving "+name, func(t *testing.T) {
			storage := t.TempDir()
			if err := os.CopyFS(storage, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			registrytest.Load(t, text(storage))
			defer stop()
			v := visit(t, port, nil)
			v.page(http.StatusSeeOther, "/login", passwordForm("erich", registrytest.Password))
			_, body := v.Want(http.StatusOK, "GET", "/token", nil, "Authorization", registrytest.Basic("x", services))
			for _, record := range []string{"keys/" + servicesID, "users/616461", "uses/" + servicesID,
				only("announced"), only("sealing"), only("signing"), "site"} {
				damage(t, filepath.Join(objects(storage), record))
			}
			for range 2 {
				for _, secret := range []string{other, services, adas} {
					v.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", registrytest.Basic("x", secret))
				}
				v.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", "Bearer "+registrytest.Token(t, body))
				v.page(http.StatusOK, "/user/apikey", nil)
				registrytest.Load(t, text(storage))
			}
			if _, err := registrytest.Callers(t).Identity.Keys().Revoke(t.Context(), servicesID); err != nil {
				t.Error(err) // and the record is whole again
			}
			stop()
			registrytest.Load(t, text(storage))
			v.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", registrytest.Basic("x", other))
			_, refusal := v.Want(http.StatusUnauthorized, "GET", "/v2/", nil,
				"Authorization", registrytest.Basic("x", services))
			if !strings.Contains(string(refusal), "was revoked") {
				t.Errorf("got %s", refusal)
			}
			v.Want(http.StatusUnauthorized, "GET", "/v2/", nil, "Authorization", registrytest.Basic("x", adas))
		})
	}
}
