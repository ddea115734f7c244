// Package pages opens every page of the built binary in Chromium: at 1,280 and 390 pixels and at
// 200 %, in both themes, with a visitor, a user of CI and an administrator. axe-core finds nothing
// wrong, no page scrolls sideways, the tab key reaches every control, and everything works without
// scripts. Walks with a real OpenID Connect provider are in package signin.
//
//	go test -run TestScreenshots ./pages -pictures ../../dist/screenshots   # make screenshots
package pages
