// Package web is the pages that people see: signing in and out, and their API keys.
//
//	web.go      what the pages need, which paths they have, who is signed in
//	signin.go   /, /login, /logout, the callback, the back-channel
//	password.go the form on /login, for users of the configuration
//	keys.go     /user/apikey
//	confirm.go  /user/apikey/revoke, /user/apikey/disable: the question before
//	api.go      /api/keys, the same as JSON
//	render.go   templates, headers, errors for people
//
// The pages are plain HTML with one style sheet and no script at all, under a policy
// that allows none. A cookie is looked at here and nowhere else; a form that another
// site made the browser send is refused. What a page shows once, a new API key, is
// in no cache.
//
//	site := &web.Site{Identity: store, Sessions: sessions, Login: login, …}
//	if web.Serves(r.URL.Path, site.Callback) { site.ServeHTTP(w, r) }
package web
