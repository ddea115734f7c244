package checks

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/core/evict"
)

// look finds out how the storage is.
func (p *Patient) look(ctx context.Context) (control.Condition, string, error) {
	names := make([]string, len(p.Mirrors))
	for i, m := range p.Mirrors {
		names[i] = m.Name
	}
	c, err := p.Condition(ctx, names)
	switch {
	case err != nil:
		return control.Condition{}, "", err
	case c.Process == 0:
		return c, fmt.Sprintf("%s is in good order, and no process uses it", p.Directory), nil
	}
	return c, fmt.Sprintf("%s is in use by process %d, which answers", p.Directory, c.Process), nil
}

// risks are what the storage's disk lets happen. The operator may have chosen it.
func (p *Patient) risks() (string, error) {
	if storage, ok := p.Storage.(storage.Risky); ok {
		if risks := storage.Risks(); len(risks) > 0 {
			return "", doctor.Warning(strings.Join(risks, "; "))
		}
	}
	return "nothing is known of the disk that would lose what was acknowledged", nil
}

// describeIdentity reports which records of identity are damaged.
func describeIdentity(c *control.Condition) (string, error) {
	if len(c.Damaged) > 0 {
		return "", errors.New(strings.Join(c.Damaged, "\n"))
	}
	return "every key, user and signing key can be read", nil
}

// lookAtDisk compares what is free with what should be.
func lookAtDisk(directory string, minFree evict.MinFree) (string, error) {
	if directory == "" {
		return "mirrors keep on no local disk", nil
	}
	free, total, err := evict.DiskOf(directory).Space()
	if errors.Is(err, errors.ErrUnsupported) {
		return "this system does not tell how much is free", nil
	}
	if err != nil {
		return "", err
	}
	least := minFree.Of(total)
	text := fmt.Sprintf("%s of %s are free below %s; mirrors leave %s free",
		humanize.IBytes(uint64(free)), humanize.IBytes(uint64(total)), directory, humanize.IBytes(uint64(least)))
	if free < least {
		return "", fmt.Errorf("%s: they evict, and then keep no more", text)
	}
	return text, nil
}
