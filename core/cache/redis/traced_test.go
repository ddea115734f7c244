package redis

import (
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/eblume/caddy-registry/core/coretest"
)

func TestQuestionsAreSpans(t *testing.T) {
	server := miniredis.RunT(t)
	c := open(t, server.Addr(), ours)
	spans := new(coretest.Spans)
	ctx := spans.Context(t.Context())
	c.Get(ctx, "tag/secret")
	c.Put(ctx, "tag/secret", []byte("value"), time.Hour)
	c.Get(ctx, "tag/secret")
	c.Delete(ctx, "tag/secret")
	server.SetError("busy")
	c.Get(ctx, "tag/secret")
	redis := func(command, result string) string {
		return "request > " + command + " db.system.name=redis db.operation.name=" + command + " registry.cache.result=" + result
	}
	want := []string{
		redis("GETRANGE", "miss"), redis("SET", "ok"), redis("GETRANGE", "hit"), redis("DEL", "ok"),
		redis("GETRANGE", "error") + " failed _OTHER",
	}
	if got := spans.Ended(); !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}
