package web

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/session"
	"github.com/eblume/caddy-registry/policies"
)

const (
	// newPath has the form for a key.
	newPath = keysPath + "/new"
	// madePath shows a new key, once.
	madePath = keysPath + "/made"
	// madeCookie brings a new key from the form's answer to the page that shows it, sealed.
	madeCookie = "registry_made"
	// madeLifetime is how long the browser has to follow.
	madeLifetime = 2 * time.Minute
)

// keyForm is the form for a key, as it was sent or as it begins.
type keyForm struct {
	Name, Days, Until, Globs, Service, Groups string
	Actions                                   []string
	// Choices are the lifetimes that it offers, in days.
	Choices []int
	// First and Last are the days that can be its last one.
	First, Last string
}

// Narrowed reports whether the form limits the key, or for whom it is.
func (f keyForm) Narrowed() bool { return f.Globs != "" || len(f.Actions) > 0 }

// Chosen reports whether this is the lifetime that was chosen.
func (f keyForm) Chosen(days int) bool { return f.Days == strconv.Itoa(days) }

// Has reports whether an action was chosen.
func (f keyForm) Has(action string) bool { return slices.Contains(f.Actions, action) }

// newKey shows the form for a key.
func (s *Site) newKey(w http.ResponseWriter, r *http.Request, https bool) {
	who, in := s.who(r, https)
	if !in {
		toSignIn(w, r)
		return
	}
	s.askForKey(w, r, http.StatusOK, who, url.Values{}, "")
}

// askForKey shows the form, with what was sent and what is wrong with it.
func (s *Site) askForKey(w http.ResponseWriter, r *http.Request, status int, who policies.Identity, sent url.Values,
	problem string) {
	longest, now := s.Identity.Keys().MaxLifetime(), time.Now().UTC()
	most := int(longest / (24 * time.Hour))
	f := keyForm{
		Name: sent.Get("name"), Days: sent.Get("days"), Until: sent.Get("until"), Globs: sent.Get("globs"),
		Service: sent.Get("service"), Groups: sent.Get("groups"), Actions: sent["action"],
		First: now.Format(time.DateOnly), Last: now.Add(longest).Format(time.DateOnly),
	}
	for _, days := range []int{7, 30, 60, 90} {
		if days <= most {
			f.Choices = append(f.Choices, days)
		}
	}
	if !slices.Contains(f.Choices, most) && most > 0 {
		f.Choices = append(f.Choices, most)
	}
	if f.Days == "" && len(f.Choices) > 0 {
		f.Days = strconv.Itoa(f.Choices[len(f.Choices)-1])
	}
	p := page{Title: "New key", Who: who, Asked: f, Problem: problem, Provider: s.Login != nil}
	p.Admin = s.Admins.Includes(who)
	s.render(w, r, status, "newkey", p)
}

// lifetime reads how long a key shall last: a number of days, or until a day is over, in UTC.
// Errors: errForm.
func (s *Site) lifetime(form url.Values) (time.Duration, error) {
	if until := form.Get("until"); form.Get("days") == "date" {
		day, err := time.Parse(time.DateOnly, until)
		if err != nil {
			return 0, fmt.Errorf("%w: a last day is a date, as 2027-01-31", errForm)
		}
		now, longest := time.Now(), s.Identity.Keys().MaxLifetime()
		left := day.AddDate(0, 0, 1).Sub(now)
		if left <= 0 {
			return 0, fmt.Errorf("%w: the last day is over", errForm)
		}
		if day.Before(now.Add(longest)) { // so the last day that may be chosen is not too long by hours
			left = min(left, longest)
		}
		return left, nil
	} else if until != "" {
		return 0, fmt.Errorf("%w: choose a number of days or a date, not both", errForm)
	}
	days, err := strconv.Atoi(form.Get("days"))
	if err != nil || days < 1 || days > 100_000 {
		return 0, fmt.Errorf("%w: a lifetime is a number of days", errForm)
	}
	return time.Duration(days) * 24 * time.Hour, nil
}

// makeKey makes the key that a form describes.
func (s *Site) makeKey(r *http.Request, who policies.Identity, form url.Values) (made, error) {
	lifetime, err := s.lifetime(form)
	if err != nil {
		return made{}, err
	}
	want := identity.NewKey{
		Name: strings.TrimSpace(form.Get("name")), Lifetime: lifetime,
		Actions: form["action"], Globs: strings.Fields(form.Get("globs")),
	}
	if service := strings.TrimSpace(form.Get("service")); service != "" {
		want.User, want.Service, want.Groups = service, true, strings.Fields(form.Get("groups"))
	}
	secret, key, err := s.create(r, who, want)
	return made{key.ID, secret}, err
}

// made is a key that was just made.
type made struct{ ID, Secret string }

// purpose is what the seal of a new key is for: one user alone can open it.
func purpose(who policies.Identity) string { return "new key, made by " + who.User }

// bring gives a new key to the browser, which brings it to the page that shows it. So that page can
// be reloaded, and no key is made again.
func (s *Site) bring(w http.ResponseWriter, who policies.Identity, m made, https bool) error {
	plain, err := json.Marshal(m)
	if err != nil {
		return err
	}
	sealed := s.Sessions.Seal(purpose(who), plain)
	session.SetCookie(w, madeCookie, base64.RawURLEncoding.EncodeToString(sealed), madeLifetime, https)
	return nil
}

// showMade shows the new key that the browser brings, and makes the browser forget it.
func (s *Site) showMade(w http.ResponseWriter, r *http.Request, conn identity.Connection) {
	who, in := s.who(r, conn.HTTPS)
	if !in {
		toSignIn(w, r)
		return
	}
	p := page{Title: "New key", Who: who}
	if r.Method == http.MethodGet {
		var m made
		sealed, err := base64.RawURLEncoding.DecodeString(session.Cookie(r, madeCookie, conn.HTTPS))
		if err == nil && len(sealed) > 0 {
			if plain, err := s.Sessions.Unseal(purpose(who), sealed); err == nil && json.Unmarshal(plain, &m) == nil {
				if key, ok := s.Identity.Keys().Get(m.ID); ok && key.Active(time.Now()) {
					p.Secret, p.New = m.Secret, s.row(key, time.Now())
					p.Clients = clients(conn.Host, !conn.HTTPS, key.User, m.Secret)
				}
			}
			session.ClearCookie(w, madeCookie, conn.HTTPS)
		}
	}
	s.render(w, r, http.StatusOK, "made", p)
}
