package pages

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

// Right is whether the visitor may do something in a repository.
type Right struct {
	Action  policies.Action
	Allowed bool
	// Rule is the rule of the policy that decides, and Line where it is written. They are empty if
	// no rule allows it, and Line for those who are not signed in.
	Rule, Line string
	// Why says what decides if it is not the policy.
	Why string
}

// rightName says what an action is, in words.
func rightName(action policies.Action) string {
	switch action {
	case policies.Read:
		return "see and pull"
	case policies.Fetch:
		return "let the mirror fetch what is not held"
	case policies.Create:
		return "push images and new tags"
	case policies.Update:
		return "move tags"
	}
	return "delete"
}

// may reports whether the visitor is signed in and may do something. Nobody else changes anything
// with a page: it is the session that a form of another site cannot use.
func (s *Site) may(action policies.Action, rights []Right) bool {
	return !s.Who.Anonymous() && slices.ContainsFunc(rights, func(one Right) bool { return one.Action == action && one.Allowed })
}

func (s *Site) rights(repo string) []Right {
	if s.Rights == nil {
		return nil
	}
	return s.Rights(repo)
}

var crossOrigin = http.NewCrossOriginProtection()

// maxForm bounds the body of a form, in bytes.
const maxForm = 64 << 10

// form reads the fields of a request for a page that acts. If it returns false, it has answered.
func (s *Site) form(w http.ResponseWriter, r *http.Request) (url.Values, bool) {
	if err := crossOrigin.Check(r); err != nil {
		s.fail(w, r, http.StatusForbidden, "This form came from elsewhere", "Another site made your browser send it. Nothing was changed.")
		return nil, false
	}
	if r.Method != http.MethodPost {
		return r.URL.Query(), true
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		s.fail(w, r, http.StatusBadRequest, "This form cannot be read", "It is longer than a form of this page, or broken. Nothing was changed.")
		return nil, false
	}
	return r.PostForm, true
}

// admit looks whether the visitor may act in a repository that they may read. If it returns false, it
// has answered. back is the address of the page as it was before a form was sent.
func (s *Site) admit(w http.ResponseWriter, r *http.Request, repo, back string, actions ...policies.Action) bool {
	if s.Who.Anonymous() {
		switch s.SignIn {
		case LoginPath:
			http.Redirect(w, r, LoginPath+"?"+url.Values{"return": {back}}.Encode(), http.StatusSeeOther)
		case "":
			s.fail(w, r, http.StatusForbidden, "Nothing is changed here", "Nobody can sign in on this site.")
		default:
			s.fail(w, r, http.StatusForbidden, "Nothing is changed here", "Sign in at "+s.SignIn+" to change something.")
		}
		return false
	}
	rights := s.rights(repo)
	for _, action := range actions {
		if s.may(action, rights) {
			continue
		}
		s.denied(w, r, repo, action, fmt.Errorf("%w: %s may not %s in %s", core.ErrDenied, s.Who, action, repo))
		return false
	}
	return true
}

// denied answers that the visitor may not do something in a repository that they may read.
func (s *Site) denied(w http.ResponseWriter, r *http.Request, repo string, action policies.Action, err error) {
	if r.Method == http.MethodPost && s.Refused != nil {
		s.Refused(repo, action, err)
	}
	s.fail(w, r, http.StatusForbidden, "You may not do this", "As "+s.Who.User+" you may not "+rightName(action)+" in "+repo+
		". Its page says what you may do there, and which rule decides.")
}

// key is the same for the same texts.
func key(texts ...string) string {
	hash := sha256.New()
	for _, text := range texts {
		fmt.Fprintf(hash, "%q\n", text)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
