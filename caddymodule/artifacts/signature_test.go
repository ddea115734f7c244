package artifacts_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/artifacts"
)

// certificate is one as Fulcio issues it to a job.
func certificate(t *testing.T) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	provider, err := asn1.Marshal("https://token.actions.example")
	if err != nil {
		t.Fatal(err)
	}
	job, err := url.Parse("https://forge.example/app/.github/workflows/build.yml@refs/heads/main")
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"sigstore.dev"}}, URIs: []*url.URL{job},
		NotBefore: time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2026, 11, 30, 0, 10, 0, 0, time.UTC),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: provider}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestCertificatesAreNamed(t *testing.T) {
	der := certificate(t)
	in64 := base64.StdEncoding.EncodeToString(der)
	const want = "O=sigstore.dev | https://forge.example/app/.github/workflows/build.yml@refs/heads/main | O=sigstore.dev | https://token.actions.example | 00:10"
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	for name, got := range map[string][]artifacts.Certificate{
		"PEM":                   artifacts.Certificates("noise\n" + text),
		"a bundle":              read(t, `{"verificationMaterial":{"certificate":{"rawBytes":"`+in64+`"}},"messageSignature":{"signature":"AA"}}`).Certificates,
		"a bundle with a chain": read(t, `{"verificationMaterial":{"x509CertificateChain":{"certificates":[{"rawBytes":"`+in64+`"}]}}}`).Certificates,
		"a web signature":       read(t, `{"payload":"e30","header":{"x5c":["`+in64+`"]},"signature":"AA"}`).Certificates,
	} {
		if len(got) != 1 {
			t.Errorf("%s: got %d certificates", name, len(got))
			continue
		}
		c := got[0]
		if said := strings.Join([]string{c.Subject, strings.Join(c.Names, ", "), c.Issuer, c.Provider, c.Until.Format("15:04")}, " | "); said != want {
			t.Errorf("%s: got %s, want %s", name, said, want)
		}
	}
	if got := artifacts.Certificates(strings.Repeat(text, 20)); len(got) != 4 {
		t.Errorf("got %d certificates of 20", len(got))
	}
	if got := artifacts.Certificates("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"); got != nil {
		t.Errorf("got %+v of what is none", got)
	}
}

func read(t *testing.T, document string) artifacts.Content {
	c, err := artifacts.Read("application/json", strings.NewReader(document), artifacts.Window{Rows: 5})
	if err != nil || c.Kind != artifacts.Signature {
		t.Errorf("got %+v, %v", c, err)
	}
	return c
}

func TestFilesOfAManifest(t *testing.T) {
	type descriptor map[string]any
	d := digest.FromString("a")
	layers := []descriptor{
		{"mediaType": "text/plain", "digest": d, "size": 12, "annotations": map[string]any{"org.opencontainers.image.title": "notes/../read me.txt"}},
		{"mediaType": "application/vnd.in-toto+json", "digest": d, "size": "x", "annotations": map[string]any{"in-toto.io/predicate-type": "https://spdx.dev/Document", "n": 1}},
		{"mediaType": "text/plain", "digest": "sha256:../../etc", "size": 12},
	}
	manifest, err := json.Marshal(map[string]any{"schemaVersion": 2, "config": descriptor{"digest": d}, "layers": layers})
	if err != nil {
		t.Fatal(err)
	}
	files, more := artifacts.Files(manifest)
	if more || len(files) != 2 || files[0].Name != "notes/../read me.txt" || files[0].Size != 12 || files[0].FileName() != "read me.txt" ||
		files[1].Predicate != "https://spdx.dev/Document" || files[1].Size != 0 || files[1].FileName() != d.Encoded() {
		t.Errorf("got %+v, %t", files, more)
	}
	for title, want := range map[string]string{
		"": d.Encoded(), "..": d.Encoded(), "a/": d.Encoded(), `c:\x\y.txt`: "y.txt", "a\"b\r\nc": "a_b__c", "\u202etxt.exe": "_txt.exe", "a;b": "a;b",
	} {
		if got := (artifacts.File{Name: title, Digest: d}).FileName(); got != want {
			t.Errorf("%q: got %q, want %q", title, got, want)
		}
	}
	many := `{"blobs":[` + strings.Repeat(fmt.Sprintf(`{"digest":%q},`, d), artifacts.MaxFiles) + fmt.Sprintf(`{"digest":%q}]}`, d)
	if files, more := artifacts.Files([]byte(many)); len(files) != artifacts.MaxFiles || !more {
		t.Errorf("got %d files, %t", len(files), more)
	}
	for _, broken := range []string{"", "[]", `{"layers":{}}`, `{"layers":[1]}`, `{"layers":[{"digest":"` + string(d) + `"`} {
		if files, _ := artifacts.Files([]byte(broken)); len(files) > 1 {
			t.Errorf("%s: got %+v", broken, files)
		}
	}
}
