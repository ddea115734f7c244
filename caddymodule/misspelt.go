package caddymodule

import (
	"github.com/eblume/caddy-registry/caddymodule/admins"
	"github.com/eblume/caddy-registry/caddymodule/authenticators"
	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/typos"
	"github.com/eblume/caddy-registry/policies"
)

// misspelt returns a sentence for each name in the order that is most likely misspelt: a
// group that no rule names, a user whom nobody knows. roster is nil where no
// configuration was read: then the rules are not known, and no group is looked at.
func misspelt(o control.IdentityOrder, store *identity.Store, roster *admins.Roster) []string {
	switch {
	case o.CreateKey != nil && roster != nil:
		if rules, ok := roster.Policy.(*policies.Rules); ok {
			return typos.Groups(o.CreateKey.Groups, typos.Ruled(rules.Rules()))
		}
	case o.SetUser != "":
		known, _ := knownNames(store)
		if roster != nil {
			for _, local := range roster.Locals {
				known = append(known, local.User)
			}
		}
		if warning := typos.User(o.SetUser, known); warning != "" {
			return []string{warning}
		}
	}
	return nil
}

// knownNames are the users that a storage knows, and the groups that they and its keys have.
func knownNames(store *identity.Store) (users, groups []string) {
	for _, key := range store.Keys().List("") {
		users, groups = append(users, key.User), append(groups, key.Groups...)
	}
	for _, user := range store.Users().List() {
		users, groups = append(users, user.Name), append(groups, user.Groups...)
	}
	return users, groups
}

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
	users, groups := knownNames(a.shared.callers.store)
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
