package oidclogin

// Known returns the state of the provider without a request: answered reports whether it has been
// reached, and err why the last try failed.
func (p *Provider) Known() (answered bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.found != nil, p.failure
}
