package observe

import (
	"context"
	"log/slog"
)

// WithoutContext logs without the context of the request. Caddy adds the fields of the access
// log to messages that are logged with it: `repository` would be duplicated, and every error
// would have a stack trace.
func WithoutContext(log *slog.Logger) *slog.Logger {
	return slog.New(contextless{log.Handler()})
}

type contextless struct{ slog.Handler }

func (h contextless) Handle(_ context.Context, record slog.Record) error {
	return h.Handler.Handle(context.Background(), record)
}

func (h contextless) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextless{h.Handler.WithAttrs(attrs)}
}

func (h contextless) WithGroup(name string) slog.Handler {
	return contextless{h.Handler.WithGroup(name)}
}
