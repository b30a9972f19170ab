package gate

import (
	_ "embed"

	"github.com/e0ff5a15/mollifier/redisdb"
)

var (
	//go:embed lua/fixed_window.lua
	fixedWindowLua string
	//go:embed lua/gcra.lua
	gcraLua string
)

var scripts = [...]*redisdb.Script{
	FixedWindow: redisdb.NewScript(fixedWindowLua),
	GCRA:        redisdb.NewScript(gcraLua),
}

// call counts n triggers under a name of Redis.
func call(name string, n int64, l limits) redisdb.Call {
	return redisdb.Call{
		Script: scripts[l.algorithm],
		Keys:   []string{name},
		Args:   []any{n, l.window, l.threshold, l.hold},
	}
}

// parse reads the reply of either script. It is total.
func parse(r redisdb.Result) (reading, error) {
	if r.Err != nil {
		return reading{}, r.Err
	}
	var n [4]int64
	if len(r.Values) != len(n) {
		return reading{}, redisdb.Unreadable()
	}
	for i, v := range r.Values {
		value, ok := v.(int64)
		if !ok || value < 0 {
			return reading{}, redisdb.Unreadable()
		}
		n[i] = value
	}
	return reading{time: n[0], held: n[1], ends: n[2], level: n[3]}, nil
}
