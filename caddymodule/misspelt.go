package caddymodule

import (
	"github.com/eblume/caddy-registry/caddymodule/authenticators"
	"github.com/eblume/caddy-registry/caddymodule/typos"
)

// warnOfImpossibleRules logs what can be seen to be misspelt in the configuration alone.
func (a *App) warnOfImpossibleRules() {
	var sources typos.Sources
	for _, authenticator := range a.authenticators {
		switch authenticator.(type) {
		case *authenticators.ClientCert:
			sources.Certificates = true
		case *authenticators.TrustedIssuer:
			sources.Jobs = true
		default: // of somebody else's module, whose names may be anything
			sources = typos.Sources{Jobs: true, Certificates: true}
		}
	}
	for _, rule := range typos.Impossible(a.rules, sources) {
		a.log.Warn("rule can never match", "rule", rule.String(), "line", rule.Line, "reason", rule.Reason)
	}
	for name, mirror := range a.Mirrors {
		if meant := typos.Host(name); meant != "" && len(mirror.Upstreams) == 0 && a.Mirrors[meant] == nil {
			a.log.Warn("mirror may be misspelt", "mirror", name, "reason", "did you mean "+meant+"? If not, write its URL as the option upstream")
		}
	}
}

// warnOfMisspeltNames logs the names in rules, and the groups in the configuration, that
// are near to others. The storage must be acquired.
func (a *App) warnOfMisspeltNames() {
	users, groups := typos.Known(a.storage.Callers().Identity)
	var given []string
	for _, local := range a.LocalUsers {
		users, given = append(users, local.Name), append(given, local.Groups...)
	}
	for _, authenticator := range a.authenticators {
		switch known := authenticator.(type) {
		case *authenticators.ClientCert:
			given = append(given, known.Groups...)
		case *authenticators.TrustedIssuer:
			given = append(given, known.RuleGroups()...)
		}
	}
	for _, rule := range typos.Unmet(a.rules, users, append(groups, given...)) {
		a.log.Warn("rule may be misspelt", "rule", rule.String(), "line", rule.Line, "reason", rule.Reason)
	}
	for _, warning := range typos.Misspelt(given, typos.Ruled(a.rules)) {
		a.log.Warn("group may be misspelt", "reason", warning)
	}
}
