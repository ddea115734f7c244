package quota_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/quota"
	"github.com/eblume/caddy-registry/core/store"
)

// disk is one whose space a test says.
type disk struct {
	free, total int64
	err         error
	asked       int
}

func (d *disk) Space() (free, total int64, err error) {
	d.asked++
	return d.free, d.total, d.err
}

// registry is a quota before a store on a disk.
type registry struct {
	*quota.Registry
	t     *testing.T
	disk  *disk
	ahead time.Duration
	ctx   context.Context
	// uploads counts the files that unfinished uploads have.
	uploads func() int
}

func open(t *testing.T) *registry {
	t.Helper()
	storage, err := dir.Open(t.TempDir(), dir.Config{Verify: store.Verify})
	if err != nil {
		t.Fatal(err)
	}
	b, err := storage.Bucket("private")
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), b, store.Config{Names: &coretest.MemoryNames{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), storage.Close()); err != nil {
			t.Error(err)
		}
	})
	r := &registry{t: t, disk: &disk{free: 1 << 40, total: 1 << 40}, ctx: by("ada", "")}
	r.Registry = quota.New(quota.Config{Registry: s, Disk: r.disk, Now: func() time.Time { return time.Now().Add(r.ahead) }})
	r.uploads = func() (n int) {
		for _, err := range b.Uploads(context.Background()) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	return r
}

// by is the context of a caller.
func by(user, address string) context.Context {
	return core.WithAccess(context.Background(), core.Access{Caller: user, Address: address})
}

// begin begins an upload, which stays open.
func (r *registry) begin(ctx context.Context, repo string) (id string, err error) {
	u, err := r.NewUpload(ctx, repo, digest.Canonical)
	if err != nil {
		return "", err
	}
	return u.ID(), u.Close()
}

func (r *registry) mustBegin(ctx context.Context, repo string) string {
	r.t.Helper()
	id, err := r.begin(ctx, repo)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *registry) alive(repo, id string) bool {
	u, err := r.Upload(context.Background(), repo, id)
	if err != nil {
		return false
	}
	u.Close()
	return true
}

func TestAQuotaIsARegistry(t *testing.T) {
	coretest.Registry(t, func(t *testing.T) core.Registry { return open(t).Registry })
}

func TestAFloodOfUploadsCostsAsManyFilesAsOneMayHave(t *testing.T) {
	r := open(t)
	r.SetLimits(quota.Limits{Uploads: 10})
	refused := 0
	for i := range 1000 {
		_, err := r.begin(r.ctx, fmt.Sprintf("a/%d", i%7))
		if errors.Is(err, core.ErrTooManyRequests) && !core.Retry(err).IsZero() {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n := r.uploads(); n != 10 || refused != 990 {
		t.Errorf("got %d files and %d refusals, want 10 and 990", n, refused)
	}
	// Others are not held up: another user, an address, and a user of an address's name.
	for _, ctx := range []context.Context{by("eve", ""), by("", "192.0.2.1"), by("192.0.2.1", ""), by("", "2001:db8::1")} {
		r.mustBegin(ctx, "a")
	}
	// One machine has a whole /64, and an address is the same in its two forms.
	for range 9 {
		r.mustBegin(by("", "2001:db8::2"), "a")
		r.mustBegin(by("", "::ffff:192.0.2.1"), "a")
	}
	for _, address := range []string{"2001:db8::ffff:3", "192.0.2.1"} {
		if _, err := r.begin(by("", address), "a"); !errors.Is(err, core.ErrTooManyRequests) {
			t.Errorf("%s: got %v, want ErrTooManyRequests", address, err)
		}
	}
}

func TestTheOldestIdleUploadMakesRoom(t *testing.T) {
	r := open(t)
	r.SetLimits(quota.Limits{Uploads: 3})
	first, second, third := r.mustBegin(r.ctx, "a"), r.mustBegin(r.ctx, "b"), r.mustBegin(r.ctx, "c")
	r.ahead = 9 * time.Minute
	u, err := r.Upload(r.ctx, "a", first) // it goes on
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Append(r.ctx, -1, bytes.NewReader([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	u.Close()
	if _, err := r.begin(r.ctx, "d"); !errors.Is(err, core.ErrTooManyRequests) {
		t.Errorf("none is idle: got %v, want ErrTooManyRequests", err)
	}
	r.ahead = 10 * time.Minute
	r.mustBegin(r.ctx, "d")
	if !r.alive("a", first) || r.alive("b", second) || !r.alive("c", third) {
		t.Error("another than the oldest idle one made room")
	}
	if n := r.uploads(); n != 3 {
		t.Errorf("got %d files, want 3", n)
	}
}

func TestAnUploadThatIsWrittenToIsNotIdle(t *testing.T) {
	r := open(t)
	r.SetLimits(quota.Limits{Uploads: 1})
	u, err := r.NewUpload(r.ctx, "a", digest.Canonical)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	body, sender := io.Pipe()
	done := make(chan error, 1)
	go func() { _, err := u.Append(r.ctx, -1, body); done <- err }()
	if _, err := sender.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	r.ahead = time.Hour // a slow client
	if _, err := r.begin(r.ctx, "b"); !errors.Is(err, core.ErrTooManyRequests) {
		t.Errorf("got %v, want ErrTooManyRequests", err)
	}
	sender.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// An upload that has ended does not count, whatever ended it.
func TestEndedUploadsCountNoMore(t *testing.T) {
	r := open(t)
	r.SetLimits(quota.Limits{Uploads: 1, Upload: 4})
	for name, end := range map[string]func(core.Upload){
		"committed":           func(u core.Upload) { u.Commit(r.ctx, digest.FromString("")) },
		"of another digest":   func(u core.Upload) { u.Commit(r.ctx, digest.FromString("x")) },
		"cancelled":           func(u core.Upload) { u.Cancel(r.ctx) },
		"too large":           func(u core.Upload) { u.Append(r.ctx, -1, bytes.NewReader(make([]byte, 5))) },
		"found and cancelled": func(u core.Upload) { again, _ := r.Upload(r.ctx, "a", u.ID()); again.Cancel(r.ctx); again.Close() },
		"found by another one": func(u core.Upload) {
			again, _ := r.Upload(by("eve", ""), "a", u.ID())
			again.Cancel(r.ctx)
			again.Close()
		},
	} {
		u, err := r.NewUpload(r.ctx, "a", digest.Canonical)
		if err != nil {
			t.Fatalf("before %s: %v", name, err)
		}
		if n := r.OpenUploads(); n != 1 {
			t.Errorf("before %s: %d uploads are open", name, n)
		}
		end(u)
		u.Close()
		if n := r.OpenUploads(); n != 0 {
			t.Errorf("after %s: %d uploads are open", name, n)
		}
	}
	r.mustBegin(r.ctx, "a")
}

// announced is a body whose length is known, as that of most requests.
type announced struct {
	io.Reader
	length int64
}

func (a announced) Announced() int64 { return a.length }

func TestNoUploadIsLargerThanTheLimit(t *testing.T) {
	r := open(t)
	r.SetLimits(quota.Limits{Upload: 1000})
	for _, row := range []struct {
		name     string
		pieces   []int
		announce bool
		read     int // of the last piece
		want     error
	}{
		{"as large", []int{1000}, true, 1000, nil},
		{"as large in pieces", []int{400, 600}, false, 600, nil},
		{"larger, and it says so", []int{1001}, true, 0, core.ErrUploadTooLarge},
		{"larger, and it does not", []int{1001}, false, 1001, core.ErrUploadTooLarge},
		{"larger with its last piece, and it says so", []int{600, 401}, true, 0, core.ErrUploadTooLarge},
		{"larger with its last piece", []int{600, 401}, false, 401, core.ErrUploadTooLarge},
	} {
		u, err := r.NewUpload(r.ctx, "a", digest.Canonical)
		if err != nil {
			t.Fatal(err)
		}
		var body *bytes.Reader
		for _, size := range row.pieces {
			body = bytes.NewReader(make([]byte, size))
			piece := announced{body, int64(size)}
			if !row.announce {
				piece.length = -1
			}
			_, err = u.Append(r.ctx, -1, piece)
		}
		if !errors.Is(err, row.want) || int(body.Size())-body.Len() != row.read {
			t.Errorf("%s: got %v after %d bytes, want %v after %d", row.name, err, int(body.Size())-body.Len(), row.want, row.read)
		}
		id := u.ID()
		u.Close()
		if r.alive("a", id) != (row.want == nil) {
			t.Errorf("%s: the upload is kept: %v", row.name, row.want != nil)
		}
	}
}

func TestPushesLeaveTheReserve(t *testing.T) {
	const mib = 1 << 20
	manifest := core.ManifestPut{MediaType: "application/vnd.oci.image.index.v1+json",
		Bytes: []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)}
	for _, row := range []struct {
		name        string
		reserve     int64
		free, total int64
		err         error
		want        error
	}{
		{"enough", 0, 300 * mib, 1 << 40, nil, nil},
		{"less than the default", 0, 200 * mib, 1 << 40, nil, core.ErrNoSpace},
		{"a small disk", 0, 200 * mib, 1000 * mib, nil, nil},
		{"a small disk that is full", 0, 40 * mib, 1000 * mib, nil, core.ErrNoSpace},
		{"more is reserved", 1 << 30, 1000 * mib, 1 << 40, nil, core.ErrNoSpace},
		{"nothing is reserved", -1, 1, 1 << 40, nil, nil},
		{"a disk that cannot be asked", 0, 0, 0, errors.ErrUnsupported, nil},
	} {
		r := open(t)
		r.SetLimits(quota.Limits{Reserve: row.reserve})
		*r.disk = disk{free: row.free, total: row.total, err: row.err}
		_, begin := r.begin(r.ctx, "a")
		_, put := r.PutManifest(r.ctx, "a", manifest)
		for what, err := range map[string]error{"upload": begin, "manifest": put, "before a manifest": r.AdmitManifest(r.ctx, "a")} {
			if !errors.Is(err, row.want) {
				t.Errorf("%s: %s: got %v, want %v", row.name, what, err, row.want)
			}
		}
		*r.disk = disk{free: 1 << 40, total: 1 << 40}
		if got, want := r.uploads(), 1; row.want != nil && got != 0 || row.want == nil && got != want {
			t.Errorf("%s: %d uploads are left", row.name, got)
		}
	}
}

// While much more is free than the reserve, pushes that follow each other at once do not each
// ask the disk. They do where the reserve is near, and when time has passed.
func TestADiskWithRoomIsNotAskedByEachPush(t *testing.T) {
	for _, row := range []struct {
		name  string
		free  int64
		after time.Duration
		asked int
	}{
		{"ample", 1 << 40, 0, 1},
		{"ample, some time ago", 1 << 40, time.Second, 2},
		{"near the reserve", 1 << 30, 0, 2},
	} {
		d, now := &disk{free: row.free, total: 1 << 40}, time.Now()
		q := quota.New(quota.Config{Disk: d, Now: func() time.Time { return now }})
		for range 2 {
			if err := q.Room(0); err != nil {
				t.Errorf("%s: %v", row.name, err)
			}
			now = now.Add(row.after)
		}
		if d.asked != row.asked {
			t.Errorf("%s: the disk was asked %d times for two pushes, want %d", row.name, d.asked, row.asked)
		}
	}
}

// A disk that was ample before is asked again for what would fill it.
func TestALargePushAsksTheDisk(t *testing.T) {
	r := open(t)
	r.disk.free = 3 << 30
	r.mustBegin(r.ctx, "a")
	r.disk.free = 1 << 30
	u, err := r.NewUpload(r.ctx, "a", digest.Canonical)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	body := announced{bytes.NewReader(nil), 1 << 30}
	if _, err := u.Append(r.ctx, -1, body); !errors.Is(err, core.ErrNoSpace) {
		t.Errorf("got %v, want ErrNoSpace", err)
	}
}

// filling is a body beside which others fill the disk.
type filling struct {
	disk *disk
	left int
}

func (f *filling) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	n := min(f.left, len(p))
	f.left -= n
	f.disk.free -= int64(n)
	return n, nil
}

// An upload of unknown size, alone or with others, ends where the reserve begins, and is then
// dropped.
func TestAnUploadEndsWhereTheReserveBegins(t *testing.T) {
	const mib = 1 << 20
	r := open(t)
	r.SetLimits(quota.Limits{Reserve: 10 * mib})
	r.disk.free = 20 * mib
	u, err := r.NewUpload(r.ctx, "a", digest.Canonical)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := u.Append(r.ctx, -1, &filling{r.disk, 30 * mib}); !errors.Is(err, core.ErrNoSpace) {
		t.Errorf("got %v, want ErrNoSpace", err)
	}
	if r.disk.free < 5*mib || r.uploads() != 0 {
		t.Errorf("%d bytes are free and %d uploads are left", r.disk.free, r.uploads())
	}
	r.disk.free = 20 * mib
	body := bytes.NewReader(make([]byte, 11*mib))
	u, err = r.NewUpload(r.ctx, "a", digest.Canonical)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := u.Append(r.ctx, -1, announced{body, 11 * mib}); !errors.Is(err, core.ErrNoSpace) || body.Len() != 11*mib {
		t.Errorf("one that says its size: got %v after %d bytes, want ErrNoSpace before the first", err, 11*mib-body.Len())
	}
}

func TestALimitThatChangesHoldsAtOnce(t *testing.T) {
	r := open(t)
	r.SetLimits(quota.Limits{Uploads: 1})
	r.mustBegin(r.ctx, "a")
	if _, err := r.begin(r.ctx, "a"); !errors.Is(err, core.ErrTooManyRequests) {
		t.Fatalf("got %v", err)
	}
	r.SetLimits(quota.Limits{Uploads: 2})
	r.mustBegin(r.ctx, "a")
	r.SetLimits(quota.Limits{Uploads: -1})
	r.mustBegin(r.ctx, "a")
}
