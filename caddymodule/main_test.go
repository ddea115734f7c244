package caddymodule_test

import (
	"testing"

	_ "github.com/eblume/caddy-registry/caddymodule"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

func TestMain(m *testing.M) { registrytest.Main(m) }
