package option

import (
	"fmt"
	"net/netip"
	"net/url"
)

// CheckURL refuses an address to which secrets would travel in the open: it must be https, or
// http on loopback, without user, query and fragment.
func CheckURL(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	if u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		u.Scheme != "https" && (u.Scheme != "http" || !loopbackName(u.Hostname())) {
		return fmt.Errorf("%q is not like https://id.example.org/; plain http is for loopback alone", address)
	}
	return nil
}

func loopbackName(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}
