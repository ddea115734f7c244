package artifacts

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
)

// maxNames bounds the names of a certificate that are shown.
const maxNames = 8

// material509 reads certificates: those of a Sigstore bundle
// (https://github.com/sigstore/protobuf-specs), and of the header of a JSON web signature (RFC 7515,
// clause 4.1.6).
func (d *document) material509(name string) error {
	switch name {
	case "certificate", "x509CertificateChain":
		return d.object(d.material509)
	case "certificates":
		return d.array(func() error { return d.object(d.material509) })
	case "rawBytes":
		return d.certificate()
	case "x5c":
		return d.array(d.certificate)
	case "publicKey":
		return d.object(func(name string) error {
			if name == "hint" {
				return d.said("Key")
			}
			return d.skip()
		})
	}
	return d.skip()
}

// certificate reads a certificate in base64.
func (d *document) certificate() error {
	text, err := d.long()
	if err != nil || len(text) > MaxChart {
		return err
	}
	if der, err := base64.StdEncoding.DecodeString(text); err == nil {
		d.Certificates = appendCertificate(d.Certificates, der)
	}
	return nil
}

// Certificates reads certificates in PEM, at most four.
func Certificates(text string) (all []Certificate) {
	rest := []byte(text[:min(len(text), MaxChart)])
	for len(all) < maxCertificates {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		all = appendCertificate(all, block.Bytes)
	}
	return all
}

var (
	fulcioIssuerV1 = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
	fulcioIssuer   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}
)

// appendCertificate adds a certificate, if it is one.
func appendCertificate(all []Certificate, der []byte) []Certificate {
	if len(all) == maxCertificates {
		return all
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return all
	}
	c := Certificate{
		Subject: clip(parsed.Subject.String()), Issuer: clip(parsed.Issuer.String()),
		From: parsed.NotBefore, Until: parsed.NotAfter,
	}
	add := func(name string) {
		if name != "" && len(c.Names) < maxNames {
			c.Names = append(c.Names, clip(name))
		}
	}
	for _, name := range parsed.EmailAddresses {
		add(name)
	}
	for _, uri := range parsed.URIs {
		add(uri.String())
	}
	for _, name := range parsed.DNSNames {
		add(name)
	}
	for _, extension := range parsed.Extensions {
		switch {
		case extension.Id.Equal(fulcioIssuer):
			var provider string
			if _, err := asn1.Unmarshal(extension.Value, &provider); err == nil {
				c.Provider = clip(provider)
			}
		case extension.Id.Equal(fulcioIssuerV1) && c.Provider == "":
			c.Provider = clip(string(extension.Value))
		}
	}
	return append(all, c)
}
