//go:build unix

package devstack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// InfoFile is the name, within the data folder, of the file that tells scripts
// what runs.
const InfoFile = "stack.json"

// The states of [Info].
const (
	StateRunning = "running"
	StateStopped = "stopped"
)

// Info is the content of stack.json. It holds passwords and API keys: its file
// is readable by its owner only, and it is not for logs. Addresses and process
// ids are empty or zero while nothing runs; environments stay.
type Info struct {
	State     string    `json:"state"` // "running" or "stopped"; after a kill it still says running
	PID       int       `json:"pid"`   // of the node
	StartedAt time.Time `json:"started_at,omitzero"`

	HTTP  string `json:"http"`  // base URL of the node's API
	Admin string `json:"admin"` // base URL of its admin listener
	// AdminToken is one that its admin listener asks for.
	AdminToken string `json:"admin_token,omitempty"`

	Redis    Store `json:"redis"`
	Postgres Store `json:"postgres"`

	Environments []Environment `json:"environments"`
}

// Store is how to reach one of the stores.
type Store struct {
	URL string `json:"url"` // for redis-cli -u, or psql
	PID int    `json:"pid"` // zero for a store that is not ours
}

// Environment is a default environment and the key that speaks for it.
type Environment struct {
	Organisation string `json:"organisation"`
	ID           string `json:"id"`
	Name         string `json:"name"`
	Key          string `json:"key"`
}

// ReadInfo reads stack.json from a data folder. It returns an error that is
// [fs.ErrNotExist] if nothing was ever started there.
func ReadInfo(dir string) (Info, error) {
	file := filepath.Join(dir, InfoFile)
	text, err := os.ReadFile(file)
	if err != nil {
		return Info{}, err
	}
	var info Info
	if err := json.Unmarshal(text, &info); err != nil {
		return Info{}, fmt.Errorf("devstack: %s: %w", file, err)
	}
	return info, nil
}

// WriteInfo replaces stack.json in a data folder, mode 0600; readers see the old
// content or the new.
func WriteInfo(dir string, info Info) error {
	text, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	return writeFileAtomic(filepath.Join(dir, InfoFile), append(text, '\n'))
}

// lastInfo is what stack.json held, or nothing if there is none that can be
// read: it is a note for others, and a damaged one must not block a start.
func lastInfo(dir string) Info {
	info, err := ReadInfo(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Info{}
	}
	return info
}
