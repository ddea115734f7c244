// Package web serves the pages for people: signing in and out, and their API keys.
//
//	web.go      the dependencies and paths of the pages, and the signed-in user
//	signin.go   /, /login, /logout, the callback, the back-channel
//	password.go the form on /login, for users of the configuration
//	keys.go     /user/apikey: a user's own keys, and every change
//	newkey.go   /user/apikey/new, /user/apikey/made: the form for a key, and the key, once
//	clients.go  lines that give a key to clients
//	admin.go    /admin/keys, /admin/users
//	rows.go     lists
//	confirm.go  /user/apikey/revoke, /user/apikey/disable: confirmations
//	api.go      /api/keys, the same as JSON
//	render.go   templates, errors for people
//
// The pages are plain HTML with the layout and headers of package design. They work without scripts.
// Cookies are read only here; a form that another site made the browser send is
// refused. A new API key, which a page shows once, is not cached.
//
//	site := &web.Site{Identity: store, Sessions: sessions, Login: login, …}
//	if web.Serves(r.URL.Path, site.Callback) { site.ServeHTTP(w, r) }
package web
