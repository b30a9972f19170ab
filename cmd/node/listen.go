package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
)

// front is one listener and the server behind it. The address is taken when the
// front is made, so that a port that is in use ends the start before anything
// slow; connections wait there until it serves.
type front struct {
	listener net.Listener
	server   *http.Server
	ended    chan struct{} // closed when serving has ended; nil before it began
}

// listen takes the address of a flag.
func listen(ctx context.Context, flagName, address string) (*front, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("-%s %s: the port is taken by another process, perhaps by another node; give another one, or port 0 for any that is free", flagName, address)
	case err != nil:
		return nil, fmt.Errorf("-%s %s: %w", flagName, address, err)
	}
	return &front{listener: l}, nil
}

// url is how to reach the front from this machine.
func (f *front) url() string {
	address := f.listener.Addr().(*net.TCPAddr)
	host := address.IP.String()
	if address.IP.IsUnspecified() { // also when written [::]: it takes both families
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, fmt.Sprint(address.Port))
}

func (f *front) port() string { return fmt.Sprint(f.listener.Addr().(*net.TCPAddr).Port) }

func (f *front) loopback() bool { return f.listener.Addr().(*net.TCPAddr).IP.IsLoopback() }

// serve answers requests until stop. Should it end by itself, failed is told why.
func (f *front) serve(server *http.Server, failed func(error)) {
	f.server, f.ended = server, make(chan struct{})
	go func() {
		defer close(f.ended)
		if err := server.Serve(f.listener); !errors.Is(err, http.ErrServerClosed) {
			failed(fmt.Errorf("listener %s: %w", f.listener.Addr(), err))
		}
	}()
}

// stop takes no more connections, and returns when those under way are answered.
// When ctx ends first they are cut off, and its error is returned.
func (f *front) stop(ctx context.Context) error {
	if f.server == nil {
		return f.listener.Close()
	}
	err := f.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests were cut off: %w", err), f.server.Close())
	}
	<-f.ended
	return err
}
