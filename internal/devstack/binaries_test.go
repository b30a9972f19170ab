//go:build unix

package devstack

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestLookupPostgres(t *testing.T) {
	t.Parallel()
	m := newFakeMachine(t, "", "0")
	m.program("pg/13/bin/postgres", postgres13)
	m.program("pg/13/bin/initdb", "")
	m.program("pg/15/bin/postgres", postgres15)
	m.program("pg/15/bin/initdb", "")
	m.program("pg/16/bin/postgres", "echo 'postgres (PostgreSQL) 16.1'")
	m.program("pg/17/bin/postgres", "echo 'postgres (PostgreSQL) 17beta1'") // without initdb
	m.program("pg/18/bin/postgres", "exit 1")
	m.program("pg/18/bin/initdb", "")
	all := lookup{postgresFolders: []string{filepath.Join(m.root, "pg/*/bin")}}

	if dir, major, err := all.postgres(t.Context(), 0); err != nil || major != 15 || dir != filepath.Join(m.root, "pg/15/bin") {
		t.Errorf("the newest that is whole: %s, %d, %v", dir, major, err)
	}
	m.program("pg/16/bin/initdb", "")
	if _, major, err := all.postgres(t.Context(), 0); err != nil || major != 16 {
		t.Errorf("with a newer one: %d, %v", major, err)
	}
	if _, major, err := all.postgres(t.Context(), 15); err != nil || major != 15 {
		t.Errorf("exactly 15: %d, %v", major, err)
	}

	old := lookup{path: []string{filepath.Join(m.root, "pg/13/bin"), filepath.Join(m.root, "pg/18/bin")}}
	_, _, err := old.postgres(t.Context(), 0)
	var missing *MissingError
	if !errors.As(err, &missing) || len(missing.Refused) != 2 {
		t.Fatalf("too old and broken: %v", err)
	}
	for _, want := range []string{"Postgres 14 or newer", "(version 13)", "install with: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	if _, _, err := all.postgres(t.Context(), 14); err == nil || !strings.Contains(err.Error(), "Postgres 14, which made the data folder") {
		t.Errorf("exactly 14: %v", err)
	}
}

func TestLookupRedis(t *testing.T) {
	t.Parallel()
	m := newFakeMachine(t, "", "0")
	m.program("old/redis-server", redis6)
	m.program("fork/valkey-server", valkey8)
	m.program("odd/redis-server", "echo hello")
	in := func(folders ...string) lookup {
		var l lookup
		for _, f := range folders {
			l.path = append(l.path, filepath.Join(m.root, f))
		}
		return l
	}
	if file, err := in("old", "odd", "fork").redis(t.Context()); err != nil || filepath.Base(file) != "valkey-server" {
		t.Errorf("Valkey behind an old Redis: %s, %v", file, err)
	}
	m.program("fork/redis-server", redis7)
	if file, err := in("fork").redis(t.Context()); err != nil || filepath.Base(file) != "redis-server" {
		t.Errorf("both in one folder: %s, %v", file, err)
	}
	_, err := in("old", "odd").redis(t.Context())
	if err == nil || !strings.Contains(err.Error(), "(version 6)") || !strings.Contains(err.Error(), `"hello"`) {
		t.Errorf("none that will do: %v", err)
	}
}
