package coretest_test

import (
	"testing"

	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
)

func TestMemoryNamesAreNames(t *testing.T) {
	coretest.Names(t, func(*testing.T) store.Names { return &coretest.MemoryNames{} })
}
