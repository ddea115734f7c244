package store_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
)

// memory is a Bucket that remembers two states: the visible one, and the one that
// a Sync has made durable. A hook is called before every operation, so that a
// test can stop there, choose who goes next, or make everything fail from there
// on.
type memory struct {
	hook atomic.Pointer[func(ctx context.Context, op string) error] // set by intercept
	now  func() time.Time

	mu      sync.Mutex // guards what follows
	visible map[string]*object
	durable map[string]*object
	uploads map[string]*pending
	serial  int
}

// object is never changed, only replaced.
type object struct {
	data []byte
	info bucket.Info
}

type pending struct {
	data []byte
	time time.Time
}

var (
	_ bucket.Bucket       = (*memory)(nil)
	_ bucket.FollowUpload = (*memory)(nil)
	_ bucket.Barrier      = (*memory)(nil)

	_ bucket.OpenAfterDelete = (*memory)(nil)
)

func newMemory(now func() time.Time) *memory {
	return &memory{
		now: now, visible: map[string]*object{}, durable: map[string]*object{}, uploads: map[string]*pending{},
	}
}

// intercept has f asked ahead of every operation from now on; f's error is the
// operation's. A store may be running meanwhile.
func (m *memory) intercept(f func(ctx context.Context, op string) error) { m.hook.Store(&f) }

func (m *memory) before(ctx context.Context, op string) error {
	if f := m.hook.Load(); f != nil {
		return (*f)(ctx, op)
	}
	return nil
}

// killed is the bucket as the next process finds it when this one was killed:
// everything visible is there.
func (m *memory) killed() *memory { return m.copy(func(string) bool { return true }) }

// powerCut returns the bucket after a power cut. Changes that no Sync has covered
// are undone, unless kept says that the disk happened to have them.
func (m *memory) powerCut(kept func(key string) bool) *memory {
	after := m.copy(kept)
	after.uploads = map[string]*pending{}
	return after
}

func (m *memory) copy(kept func(key string) bool) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := newMemory(m.now)
	after.serial = m.serial
	both := maps.Clone(m.visible)
	maps.Copy(both, m.durable)
	for _, key := range slices.Sorted(maps.Keys(both)) { // in order, so that a seeded kept repeats
		o := m.durable[key]
		if o != m.visible[key] && kept(key) {
			o = m.visible[key]
		}
		if o != nil {
			after.visible[key], after.durable[key] = o, o
		}
	}
	for id, up := range m.uploads {
		after.uploads[id] = &pending{data: bytes.Clone(up.data), time: up.time}
	}
	return after
}

func (m *memory) find(key string) (*object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.visible[key]; o != nil {
		return o, nil
	}
	return nil, fmt.Errorf("%s: %w", key, bucket.ErrNotExist)
}

func (m *memory) Get(ctx context.Context, key string) ([]byte, bucket.Info, error) {
	if err := m.before(ctx, "get "+key); err != nil {
		return nil, bucket.Info{}, err
	}
	o, err := m.find(key)
	if err != nil {
		return nil, bucket.Info{}, err
	}
	return bytes.Clone(o.data), o.info, nil
}

func (m *memory) Stat(ctx context.Context, key string) (bucket.Info, error) {
	if err := m.before(ctx, "stat "+key); err != nil {
		return bucket.Info{}, err
	}
	o, err := m.find(key)
	if err != nil {
		return bucket.Info{}, err
	}
	return o.info, nil
}

func (m *memory) Open(ctx context.Context, key string) (bucket.Object, error) {
	if err := m.before(ctx, "open "+key); err != nil {
		return nil, err
	}
	o, err := m.find(key)
	if err != nil {
		return nil, err
	}
	return &reader{Reader: bytes.NewReader(o.data), info: o.info}, nil
}

type reader struct {
	*bytes.Reader
	info bucket.Info
}

func (r *reader) Info() bucket.Info { return r.info }
func (r *reader) Close() error      { return nil }

func (m *memory) Put(ctx context.Context, key string, data []byte, cond bucket.Condition) (bucket.Info, error) {
	if err := m.before(ctx, "put "+key); err != nil {
		return bucket.Info{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(key, cond); err != nil {
		return bucket.Info{}, err
	}
	return m.set(key, bytes.Clone(data)), nil
}

// check decides a condition. The caller holds mu.
func (m *memory) check(key string, cond bucket.Condition) error {
	o := m.visible[key]
	switch {
	case cond.IfAbsent && o != nil:
		return fmt.Errorf("%s: %w", key, bucket.ErrExist)
	case cond.IfMatch != "" && (o == nil || o.info.Version != cond.IfMatch):
		return fmt.Errorf("%s: %w", key, bucket.ErrChanged)
	}
	return nil
}

// set makes key visible. The caller holds mu.
func (m *memory) set(key string, data []byte) bucket.Info {
	m.serial++
	info := bucket.Info{Key: key, Size: int64(len(data)), Time: m.now(), Version: fmt.Sprint(m.serial)}
	m.visible[key] = &object{data: data, info: info}
	return info
}

func (m *memory) Delete(ctx context.Context, key string) error {
	if err := m.before(ctx, "delete "+key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.visible[key] == nil {
		return fmt.Errorf("%s: %w", key, bucket.ErrNotExist)
	}
	delete(m.visible, key)
	return nil
}

func (m *memory) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	return func(yield func(bucket.Info, error) bool) {
		if err := m.before(ctx, "list "+prefix); err != nil {
			yield(bucket.Info{}, err)
			return
		}
		m.mu.Lock()
		held := maps.Clone(m.visible)
		m.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(held)) {
			if strings.HasPrefix(key, prefix) && key > after && !yield(held[key].info, nil) {
				return
			}
		}
	}
}

func (m *memory) Sync(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	if err := m.before(ctx, "sync "+strings.Join(keys, " ")); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		if o := m.visible[key]; o != nil {
			m.durable[key] = o
		} else {
			delete(m.durable, key)
		}
	}
	return nil
}

// OpenAfterDelete: objects are never changed.
func (m *memory) OpenAfterDelete() {}

func (m *memory) Close() error { return nil }

func (m *memory) NewUpload(ctx context.Context) (bucket.Upload, error) {
	if err := m.before(ctx, "new upload"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.serial++
	id := fmt.Sprintf("u%d", m.serial)
	m.uploads[id] = &pending{time: m.now()}
	m.mu.Unlock()
	return &memoryUpload{memory: m, id: id}, nil
}

func (m *memory) Upload(ctx context.Context, id string) (bucket.Upload, error) {
	if err := m.before(ctx, "upload "+id); err != nil {
		return nil, err
	}
	u := &memoryUpload{memory: m, id: id}
	return u, u.with(func(*pending) error { return nil })
}

func (m *memory) Uploads(ctx context.Context) iter.Seq2[bucket.UploadInfo, error] {
	return func(yield func(bucket.UploadInfo, error) bool) {
		if err := m.before(ctx, "uploads"); err != nil {
			yield(bucket.UploadInfo{}, err)
			return
		}
		m.mu.Lock()
		var infos []bucket.UploadInfo
		for id, up := range m.uploads {
			infos = append(infos, bucket.UploadInfo{ID: id, Size: int64(len(up.data)), Time: up.time})
		}
		m.mu.Unlock()
		slices.SortFunc(infos, func(a, b bucket.UploadInfo) int { return strings.Compare(a.ID, b.ID) })
		for _, info := range infos {
			if !yield(info, nil) {
				return
			}
		}
	}
}

// memoryUpload is a handle; the bytes are in the bucket.
type memoryUpload struct {
	memory *memory
	id     string
}

// with runs f on the upload's bytes, if it has not ended.
func (u *memoryUpload) with(f func(*pending) error) error {
	u.memory.mu.Lock()
	defer u.memory.mu.Unlock()
	up := u.memory.uploads[u.id]
	if up == nil {
		return fmt.Errorf("upload %s: %w", u.id, bucket.ErrNotExist)
	}
	return f(up)
}

func (u *memoryUpload) ID() string   { return u.id }
func (u *memoryUpload) Close() error { return nil }

func (u *memoryUpload) Offset() (offset int64) {
	_ = u.with(func(up *pending) error { offset = int64(len(up.data)); return nil }) // an ended upload has no reader
	return offset
}

func (u *memoryUpload) Append(ctx context.Context, r io.Reader) (int64, error) {
	if err := u.memory.before(ctx, "append "+u.id); err != nil {
		return 0, err
	}
	data, err := io.ReadAll(r)
	kept := u.with(func(up *pending) error {
		up.data, up.time = append(up.data, data...), u.memory.now()
		return nil
	})
	if kept != nil {
		return 0, kept
	}
	return int64(len(data)), err
}

func (m *memory) FollowUpload(ctx context.Context, id string) (bucket.UploadReader, error) {
	if err := m.before(ctx, "read "+id); err != nil {
		return nil, err
	}
	r, u := &memoryReader{memory: m}, &memoryUpload{memory: m, id: id}
	return r, u.with(func(up *pending) error { r.up = up; return nil })
}

// memoryReader keeps the bytes of an upload, even after it has ended.
type memoryReader struct {
	memory *memory
	up     *pending
}

func (r *memoryReader) ReadAt(p []byte, off int64) (int, error) {
	r.memory.mu.Lock()
	defer r.memory.mu.Unlock()
	return bytes.NewReader(r.up.data).ReadAt(p, off)
}

func (r *memoryReader) Close() error { return nil }

func (u *memoryUpload) Commit(ctx context.Context, key, damaged string) (info bucket.Info, err error) {
	if err := u.memory.before(ctx, "commit "+key); err != nil {
		return bucket.Info{}, err
	}
	err = u.with(func(up *pending) error {
		delete(u.memory.uploads, u.id)
		held := u.memory.visible[key]
		if held != nil && len(held.data) == len(up.data) && held.info.Version != damaged {
			info = held.info
			return nil
		}
		info = u.memory.set(key, up.data)
		return nil
	})
	return info, err
}

func (u *memoryUpload) Abort(ctx context.Context) error {
	if err := u.memory.before(ctx, "abort "+u.id); err != nil {
		return err
	}
	return u.with(func(*pending) error { delete(u.memory.uploads, u.id); return nil })
}
