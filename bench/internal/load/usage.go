package load

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Usage is CPU time. That of the servers is known on Linux only, and is zero elsewhere.
type Usage struct{ Own, Redis, Postgres time.Duration }

func (u Usage) less(before Usage) Usage {
	return Usage{u.Own - before.Own, u.Redis - before.Redis, u.Postgres - before.Postgres}
}

// Total is the CPU of all three.
func (u Usage) Total() time.Duration { return u.Own + u.Redis + u.Postgres }

func (s *Stores) usage() Usage {
	var self syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &self)
	u := Usage{Own: time.Duration(self.Utime.Nano() + self.Stime.Nano())}
	if s == nil || s.redis == nil {
		return u
	}
	redis, postgres := s.redis.PID(), s.postgres.PID()
	for _, p := range readProcesses() {
		switch {
		case p.id == redis:
			u.Redis = p.own
		case p.id == postgres:
			u.Postgres += p.own + p.children // of those that have ended
		case p.parent == postgres:
			u.Postgres += p.own
		}
	}
	return u
}

type process struct {
	id, parent    int
	own, children time.Duration
}

// tick is the unit of the times in /proc: the kernel's interface fixes it.
const tick = time.Second / 100

func readProcesses() (list []process) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		// The name, in parentheses, may hold anything.
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(fields) < 15 {
			continue
		}
		number := func(i int) int { n, _ := strconv.Atoi(string(fields[i])); return n }
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		list = append(list, process{
			id: id, parent: number(1),
			own:      time.Duration(number(11)+number(12)) * tick,
			children: time.Duration(number(13)+number(14)) * tick,
		})
	}
	return list
}
