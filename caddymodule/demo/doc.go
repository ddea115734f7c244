// Package demo makes a tiny image and pushes it to a registry, so that a newcomer sees a
// push and a pull work without another image, a client or the internet. It also chooses,
// from a configuration, where to push to, under which name and with which groups. It makes
// no key and revokes none: the command that calls it does.
//
//	plan, err := demo.Target(found, "", "registry.example.org")
//	plan.Rights, err = demo.Choose(rules, private, takes)
//	digest, there, err := plan.Push(ctx, key)
package demo
