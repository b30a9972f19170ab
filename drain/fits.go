package drain

import "sync"

// fits remembers how many entries of an environment fit into one call: fewer
// where they are large, and fewer after a call with them went wrong as a whole,
// down to one, which isolates what is at fault.
type fits struct {
	mu   sync.Mutex
	envs map[string]*fit
}

type fit struct {
	bytes float64 // of an entry, on average
	limit int     // 0: none
}

// firstTake is the most that is taken of an environment whose entries' size is
// not known: bytes are bounded though each may be as large as it may.
const firstTake = 32

// takeBytes is about the most that is fetched from the buffer at once.
const takeBytes = 8 << 20

func (f *fits) of(environment string) *fit {
	if f.envs == nil {
		f.envs = make(map[string]*fit)
	}
	e := f.envs[environment]
	if e == nil {
		e = &fit{}
		f.envs[environment] = e
	}
	return e
}

// entries is how many should be taken of an environment.
func (f *fits) entries(environment string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, n := f.envs[environment], firstTake
	if e == nil {
		return n
	}
	if e.bytes > 0 {
		n = max(1, int(min(takeBytes/e.bytes, maxBatch)))
	}
	if e.limit > 0 {
		n = min(n, e.limit)
	}
	return n
}

// took tells that n entries of so many bytes in all were fetched.
func (f *fits) took(environment string, n, bytes int) {
	if n == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	e, mean := f.of(environment), float64(bytes)/float64(n)
	if e.bytes == 0 || mean > e.bytes {
		e.bytes = mean // grow at once, shrink slowly
	} else {
		e.bytes += (mean - e.bytes) / 4
	}
}

// spoiled tells that a call with n entries went wrong as a whole.
func (f *fits) spoiled(environment string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of(environment).limit = max(1, n/2)
}

// fine tells that a call with n entries was answered.
func (f *fits) fine(environment string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.envs[environment]; e != nil && e.limit > 0 && n >= e.limit {
		if e.limit *= 2; e.limit > maxBatch {
			e.limit = 0
		}
	}
}

// keep forgets environments that have nothing waiting.
func (f *fits) keep(heads []head) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.envs) <= ratedEnvs {
		return
	}
	waiting := make(map[string]bool)
	for _, h := range heads {
		waiting[h.environment] = true
	}
	for env := range f.envs {
		if !waiting[env] {
			delete(f.envs, env)
		}
	}
}
