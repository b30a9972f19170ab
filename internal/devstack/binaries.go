//go:build unix

package devstack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The oldest major versions that are accepted.
const (
	MinPostgres = 14
	MinRedis    = 7
)

// postgresFolders are the places, as globs, where packages put Postgres's server
// programs without putting them in PATH.
var postgresFolders = []string{
	"/usr/lib/postgresql/*/bin",          // Debian, Ubuntu
	"/usr/pgsql-*/bin",                   // RPM packages of the PostgreSQL project
	"/usr/libexec/postgresql*",           // Alpine
	"/usr/local/pgsql/bin",               // built from source
	"/opt/homebrew/opt/postgresql@*/bin", // Homebrew, Apple silicon
	"/usr/local/opt/postgresql@*/bin",    // Homebrew, Intel
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// redisFolders are the places where Redis or Valkey is found when PATH is short,
// as it is for daemons and cron jobs.
var redisFolders = []string{
	"/usr/bin", "/usr/sbin", "/usr/local/bin",
	"/opt/homebrew/bin", "/opt/homebrew/opt/redis/bin", "/opt/homebrew/opt/valkey/bin",
	"/usr/local/opt/redis/bin", "/usr/local/opt/valkey/bin",
}

// lookup finds server programs. The fields exist so that tests can look in
// folders of their own.
type lookup struct {
	path            []string // PATH, split
	postgresFolders []string
	redisFolders    []string
}

func systemLookup() lookup {
	return lookup{
		path:            filepath.SplitList(os.Getenv("PATH")),
		postgresFolders: postgresFolders,
		redisFolders:    redisFolders,
	}
}

// postgres returns the folder that holds both initdb and postgres of the newest
// acceptable major version, or of exactly the given major if that is not zero:
// a data folder can only be opened by the major that made it.
func (l lookup) postgres(ctx context.Context, exactly int) (dir string, major int, err error) {
	folders := slices.Clone(l.path)
	for _, pattern := range l.postgresFolders {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return "", 0, fmt.Errorf("devstack: look for Postgres in %s: %w", pattern, err)
		}
		folders = append(folders, found...)
	}
	var refused []string
	for _, folder := range folders {
		if !executable(filepath.Join(folder, "initdb")) || !executable(filepath.Join(folder, "postgres")) {
			continue
		}
		m, err := majorVersion(ctx, filepath.Join(folder, "postgres"))
		switch {
		case ctx.Err() != nil:
			return "", 0, ctx.Err()
		case err != nil:
			refused = append(refused, fmt.Sprintf("%s (%v)", folder, err))
		case m < MinPostgres, exactly != 0 && m != exactly:
			refused = append(refused, fmt.Sprintf("%s (version %d)", folder, m))
		case m > major:
			dir, major = folder, m
		}
	}
	if dir == "" {
		want := fmt.Sprintf("Postgres %d or newer", MinPostgres)
		if exactly != 0 {
			want = fmt.Sprintf("Postgres %d, which made the data folder", exactly)
		}
		return "", 0, &MissingError{Program: "postgres", Want: want, Refused: refused}
	}
	return dir, major, nil
}

// redis returns the path of a redis-server or valkey-server that is new enough.
// The first in PATH wins; redis-server is preferred within a folder.
func (l lookup) redis(ctx context.Context) (string, error) {
	var refused []string
	for _, folder := range slices.Concat(l.path, l.redisFolders) {
		for _, name := range []string{"redis-server", "valkey-server"} {
			file := filepath.Join(folder, name)
			if !executable(file) {
				continue
			}
			m, err := majorVersion(ctx, file)
			switch {
			case ctx.Err() != nil:
				return "", ctx.Err()
			case err != nil:
				refused = append(refused, fmt.Sprintf("%s (%v)", file, err))
			case m < MinRedis:
				refused = append(refused, fmt.Sprintf("%s (version %d)", file, m))
			default:
				return file, nil
			}
		}
	}
	slices.Sort(refused)
	return "", &MissingError{
		Program: "redis-server",
		Want:    fmt.Sprintf("Redis %d or newer (or Valkey)", MinRedis),
		Refused: slices.Compact(refused),
	}
}

func executable(file string) bool {
	st, err := os.Stat(file)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// versionWord finds the version in "postgres (PostgreSQL) 15.13 (Debian ...)",
// "Redis server v=7.0.15 sha=..." and "Valkey server v=8.0.1 ...".
var versionWord = regexp.MustCompile(`(?:v=|\(PostgreSQL\) )(\d+)`)

func majorVersion(ctx context.Context, program string) (int, error) {
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("--version: %w", err)
	}
	m := versionWord.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("unreadable version %q", strings.TrimSpace(string(out)))
	}
	return strconv.Atoi(string(m[1]))
}
