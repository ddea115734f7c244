package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/eblume/caddy-registry/core/bucket"
)

const (
	// MaxLifetime is how long a token lasts. It may be long, because the token gives no right,
	// and must be, because some clients cannot renew one within a push.
	MaxLifetime = time.Hour
	// RecordlessLifetime bounds a token that carries its groups, because there is
	// no record to look them up in.
	RecordlessLifetime = 5 * time.Minute
	// leeway is the tolerated difference of clocks: our own clock is used to sign and to verify,
	// but it may have been set meanwhile.
	leeway = 10 * time.Second
	// maxToken bounds what is parsed, in bytes.
	maxToken = 16 << 10
)

// ErrToken is a token that is not one of ours, or no longer.
var ErrToken = errors.New("not a valid registry token")

// ErrExpired is a token of ours that has expired, for this host. It is an ErrToken.
var ErrExpired = fmt.Errorf("%w: it has expired", ErrToken)

// Claims are the claims of a token. An anonymous token has no subject.
type Claims struct {
	Issuer     string   `json:"iss"`
	Audience   string   `json:"aud"`
	Subject    string   `json:"sub"`
	Credential string   `json:"credential,omitempty"`
	Groups     []string `json:"groups,omitempty"`
	Recordless bool     `json:"recordless,omitempty"` // Groups are all that is known
	// Push: the client asked for the token to push. It gives no right.
	Push     bool  `json:"push,omitempty"`
	IssuedAt int64 `json:"iat"`
	Expires  int64 `json:"exp"`
}

// Signer signs and verifies the registry tokens of one storage. It is safe for
// concurrent use. Neither touches the disk.
type Signer struct {
	bucket bucket.Bucket
	log    *slog.Logger
	now    func() time.Time
	site   string
	// damaged are signing keys that cannot be read; rotate has them to itself.
	damaged []string

	keys     atomic.Pointer[map[string]*heldKey]
	newest   atomic.Pointer[heldKey]
	verified verified

	stop    context.CancelFunc
	stopped sync.WaitGroup
}

// Open reads the signing keys of a bucket, or makes the first, and rotates them until
// Close. A nil log discards, a nil now is time.Now. The bucket belongs to the caller.
func Open(ctx context.Context, b bucket.Bucket, log *slog.Logger, now func() time.Time) (*Signer, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	s := &Signer{bucket: b, log: log, now: now, verified: newVerified()}
	var err error
	if s.site, err = s.loadSite(ctx); err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	keys, damaged, err := loadKeys(ctx, b)
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	for id, err := range damaged {
		log.Error("a signing key is damaged, and not used", "record", signingPrefix+id, "error", err)
		s.damaged = append(s.damaged, id)
	}
	s.replace(keys, func(map[string]*heldKey) {})
	if err := s.rotate(ctx); err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.stopped.Go(func() { s.rotateNowAndThen(life) })
	return s, nil
}

// Close ends the rotation.
func (s *Signer) Close() error {
	s.stop()
	s.stopped.Wait()
	return nil
}

func (s *Signer) rotateNowAndThen(ctx context.Context) {
	tick := time.NewTicker(rotationCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.rotate(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("signing keys were not rotated", "error", err)
			}
		}
	}
}

// Site is the `iss` of every token of this storage.
func (s *Signer) Site() string { return s.site }

// Sign makes a token for the requests to one host. Issuer, Audience and the times of
// claims are filled in; it lasts as long as lifetime says, and at most MaxLifetime.
// Clients treat anything below a minute as a minute, and then get a 401.
func (s *Signer) Sign(host string, claims Claims, lifetime time.Duration) (string, Claims, error) {
	now := s.now()
	claims.Issuer, claims.Audience = s.site, host
	claims.IssuedAt = now.Unix()
	claims.Expires = now.Add(min(lifetime, MaxLifetime)).Unix()
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", claims, err
	}
	signed, err := s.newest.Load().signer.Sign(payload)
	if err != nil {
		return "", claims, err
	}
	raw, err := signed.CompactSerialize()
	return raw, claims, err
}

// Verify reads a token that was presented to a host. The signature of a token is
// checked once: the next requests with it cost a hash. Errors: ErrToken.
func (s *Signer) Verify(raw, host string) (Claims, error) {
	claims, err := s.believe(raw)
	if err != nil {
		return Claims{}, err
	}
	now := s.now()
	switch {
	case claims.Issuer != s.site:
		return Claims{}, fmt.Errorf("%w: another issuer", ErrToken)
	case claims.Audience != host:
		return Claims{}, fmt.Errorf("%w: it is for %q", ErrToken, claims.Audience)
	case !now.Before(time.Unix(claims.Expires, 0)):
		return Claims{}, ErrExpired
	case now.Add(leeway).Before(time.Unix(claims.IssuedAt, 0)):
		return Claims{}, fmt.Errorf("%w: it is of the future", ErrToken)
	}
	return claims, nil
}

// believe returns the claims that one of our keys has signed.
func (s *Signer) believe(raw string) (Claims, error) {
	if claims, key := s.verified.get(raw); key != nil && (*s.keys.Load())[key.id] == key {
		return claims, nil
	}
	if len(raw) > maxToken {
		return Claims{}, fmt.Errorf("%w: too long", ErrToken)
	}
	signed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	key := (*s.keys.Load())[signed.Signatures[0].Protected.KeyID]
	if key == nil {
		return Claims{}, fmt.Errorf("%w: unknown signing key", ErrToken)
	}
	payload, err := signed.Verify(key.public)
	if err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	var claims Claims
	if err := json.Unmarshal(payload, &claims); err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	s.verified.put(raw, claims, key)
	return claims, nil
}
