//go:build unix

package devstack

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken from below the range from which systems give ports to outgoing
// connections (32768 on Linux, 49152 elsewhere): a server that is down for a
// moment then finds its port free when it comes back.
const (
	firstPort = 20_000
	lastPort  = 32_000
)

// freePort returns a loopback port nobody listens on at this instant. preferred
// is taken if it is free; zero means none. Another process may be faster to use
// it, so the caller tries again with another one if the server cannot bind.
func freePort(preferred int) (int, error) {
	if preferred != 0 && portFree(preferred) {
		return preferred, nil
	}
	for range 1000 {
		if port := firstPort + rand.IntN(lastPort-firstPort); portFree(port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("devstack: no free loopback port between %d and %d", firstPort, lastPort)
}

func portFree(port int) bool {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
