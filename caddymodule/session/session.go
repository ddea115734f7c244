package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"sync"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/record"
	"github.com/eblume/caddy-registry/core/bucket"
)

// Session is the user of a browser, as verified at sign-in.
type Session struct {
	// User is the name by which the person is known here.
	User string `json:"user"`
	// Issuer, Subject and SID are the provider's names for itself, the person, and its
	// own session, with which it announces a sign-out. An empty Issuer means the
	// configuration, and Subject is then the credential of the local user.
	Issuer  string    `json:"issuer,omitempty"`
	Subject string    `json:"subject,omitempty"`
	SID     string    `json:"sid,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

const (
	prefix = "sessions"
	// maxSessions bounds the sessions in memory, and the cost of listing them at the start: a
	// record has about 300 bytes. The sessions nearest their end are dropped.
	maxSessions = 20_000
	// maxOfUser is how many of them one user may have: browsers that are signed in. The
	// oldest is dropped, so that repeated sign-ins do not end sessions of others.
	maxOfUser = 50
	// sweepEvery is how often expired records are removed.
	sweepEvery = 10 * time.Minute
)

// Store is the sessions of one storage, all of them in memory. It is safe for
// concurrent use, and the bucket belongs to this process.
type Store struct {
	bucket bucket.Bucket
	log    *slog.Logger
	now    func() time.Time
	key    sealKey

	writing sync.Mutex // held from before the disk changes until memory has

	mu       sync.RWMutex       // guards sessions
	sessions map[string]Session // by the hash of the id

	swept time.Time // under writing
}

// Open reads the sessions and makes the storage's key if it has none, or a damaged one.
// A nil log discards, a nil now is time.Now. The bucket belongs to the caller.
func Open(ctx context.Context, b bucket.Bucket, log *slog.Logger, now func() time.Time) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	s := &Store{bucket: b, log: log, now: now, sessions: map[string]Session{}, swept: now()}
	var err error
	if s.key, err = s.loadKey(ctx); err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	var damaged []string
	for info, err := range b.List(ctx, prefix+"/", "") {
		if err != nil {
			return nil, fmt.Errorf("list sessions: %w", err)
		}
		data, _, err := b.Get(ctx, info.Key)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var session Session
		if err == nil {
			err = record.Decode(data, &session)
		}
		if err != nil || session.User == "" || session.Expires.IsZero() {
			damaged = append(damaged, info.Key)
			continue // it signs no user in, and a sign-in makes another
		}
		s.sessions[path.Base(info.Key)] = session
	}
	for _, key := range damaged {
		s.log.Warn("a session is damaged, and removed", "record", key)
		b.Delete(ctx, key) // it is refused anyway
	}
	return s, nil
}

// Create begins a session and returns its id, which only the browser keeps. It is
// durable when Create returns.
func (s *Store) Create(ctx context.Context, session Session, lifetime time.Duration) (id string, err error) {
	session.Created = s.now().UTC().Truncate(time.Second)
	session.Expires = session.Created.Add(lifetime)
	data, err := record.Encode(session)
	if err != nil {
		return "", err
	}
	id = rand.Text()
	hash := hashed(id)
	ctx = context.WithoutCancel(ctx)

	s.writing.Lock()
	defer s.writing.Unlock()
	s.sweep(ctx)
	s.makeRoomFor(ctx, session)
	key := prefix + "/" + hash
	if _, err := s.bucket.Put(ctx, key, data, bucket.Condition{IfAbsent: true}); err != nil {
		return "", fmt.Errorf("keep session: %w", err)
	}
	if err := bucket.Sync(ctx, s.bucket, key); err != nil {
		return "", fmt.Errorf("keep session: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[hash] = session
	return id, nil
}

// Get returns the session of an id, unless its time is over.
func (s *Store) Get(id string) (Session, bool) {
	s.mu.RLock()
	session, ok := s.sessions[hashed(id)]
	s.mu.RUnlock()
	if !ok || !s.now().Before(session.Expires) {
		return Session{}, false
	}
	return session, true
}

// End ends the session of an id. A missing session is not an error.
func (s *Store) End(ctx context.Context, id string) error {
	hash := hashed(id)
	_, err := s.end(ctx, func(h string, _ Session) bool { return h == hash })
	return err
}

// EndAll ends every session that matches which, and returns their number. They are over for every
// later request, also if the error says that they are still on the disk.
func (s *Store) EndAll(ctx context.Context, which func(Session) bool) (int, error) {
	return s.end(ctx, func(_ string, session Session) bool { return which(session) })
}

func (s *Store) end(ctx context.Context, which func(hash string, session Session) bool) (int, error) {
	ctx = context.WithoutCancel(ctx)
	s.writing.Lock()
	defer s.writing.Unlock()
	var ended []string
	s.mu.Lock()
	for hash, session := range s.sessions {
		if which(hash, session) {
			ended = append(ended, prefix+"/"+hash)
			delete(s.sessions, hash)
		}
	}
	s.mu.Unlock()
	return len(ended), s.remove(ctx, ended)
}

// remove deletes records, and returns when that is durable.
func (s *Store) remove(ctx context.Context, keys []string) error {
	var failed error
	for _, key := range keys {
		if err := s.bucket.Delete(ctx, key); err != nil && !errors.Is(err, bucket.ErrNotExist) {
			failed = errors.Join(failed, fmt.Errorf("end session: %w", err))
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return errors.Join(failed, bucket.Sync(ctx, s.bucket, keys...))
}

// sweep occasionally removes sessions that have ended, and makes room for one more. A
// record that it cannot remove is found again by the first sweep after a start.
func (s *Store) sweep(ctx context.Context) {
	now := s.now()
	s.mu.RLock()
	full := len(s.sessions) >= maxSessions
	s.mu.RUnlock()
	if !full && now.Sub(s.swept) < sweepEvery {
		return
	}
	s.swept = now
	var over []string
	s.mu.Lock()
	first, end := "", time.Time{}
	for hash, session := range s.sessions {
		if !now.Before(session.Expires) {
			over = append(over, prefix+"/"+hash)
			delete(s.sessions, hash)
		} else if first == "" || session.Expires.Before(end) {
			first, end = hash, session.Expires
		}
	}
	if len(s.sessions) >= maxSessions {
		over = append(over, prefix+"/"+first)
		delete(s.sessions, first)
	}
	s.mu.Unlock()
	for _, key := range over {
		s.bucket.Delete(ctx, key) // expired ones are refused anyway
	}
}

// makeRoomFor ends the oldest session of a user that has the maximum number.
func (s *Store) makeRoomFor(ctx context.Context, next Session) {
	s.mu.Lock()
	oldest, count := "", 0
	for hash, session := range s.sessions {
		if session.User != next.User || session.Issuer != next.Issuer {
			continue
		}
		if count++; oldest == "" || session.Created.Before(s.sessions[oldest].Created) {
			oldest = hash
		}
	}
	if count < maxOfUser {
		s.mu.Unlock()
		return
	}
	delete(s.sessions, oldest)
	s.mu.Unlock()
	// If this fails, the disk has one too many until the next start, and its browser
	// is signed in again then.
	if err := s.remove(ctx, []string{prefix + "/" + oldest}); err != nil {
		s.log.Warn("the oldest session of a user was not removed from the disk", "user", next.User, "error", err)
	}
}

// hashed is the form in which an id is stored. It has 128 random bits: a slow hash
// would add nothing.
func hashed(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}
