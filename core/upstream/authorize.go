package upstream

import (
	"context"
	"encoding/base64"
	"strings"
)

// learn remembers the upstream's authentication method, so that the next repository's token is
// fetched before the request. It reports whether that was new.
func (ep *endpoint) learn(m method) (news bool) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	news = !ep.learned || ep.method != m
	ep.learned, ep.method = true, m
	return news
}

// unlearn forgets m, unless another request has learned something else meanwhile.
func (ep *endpoint) unlearn(m method) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.method == m {
		ep.learned, ep.method = false, method{}
	}
}

func (ep *endpoint) known() (method, bool) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.method, ep.learned
}

// authorization returns the Authorization header that m wants for a request to
// ep's own host. fresh reports that a token was requested now, and did not come
// from memory. Errors: errRefused, and those of exchange.
func (c *Client) authorization(t *trip, ep *endpoint, m method, repo string, anonymous bool) (header string, fresh bool, err error) {
	switch {
	case m.realm == "" && anonymous:
		return "", false, nil
	case m.realm == "":
		if c.login.Password == "" {
			return "", false, errRefused // an identity token is not a password
		}
		pair := c.login.Username + ":" + c.login.Password
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)), true, nil
	}
	value, fresh, err := ep.tokens.get(t.ctx, tokenKey(m, repo, anonymous), c.config.StallTimeout, func(ctx context.Context) (token, error) {
		return c.exchange(ctx, ep, m, repo, anonymous, t.op)
	})
	if err != nil && t.ctx.Err() != nil {
		err = failure(t.caller, t.ctx, t.op, realm, err)
	}
	return "Bearer " + value, fresh, err
}

// tokenKey holds everything that a token depends on besides the credentials.
func tokenKey(m method, repo string, anonymous bool) string {
	who := "login"
	if anonymous {
		who = "anonymous"
	}
	return strings.Join([]string{who, repo, m.realm, m.service, m.scope}, "\x00")
}

func cutBearer(header string) (string, bool) { return strings.CutPrefix(header, "Bearer ") }
