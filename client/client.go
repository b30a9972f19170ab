package client

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config says which node a [Client] talks to, and how patiently.
type Config struct {
	// URL is the node's base URL, and Key the API key or public token. Required.
	URL, Key string
	// Patience is how long one call is repeated while it is refused or not answered;
	// the caller's context may end it earlier. Negative: each call is tried once.
	// Default 30 s.
	Patience time.Duration
	// Branch is required with the key of a preview environment.
	Branch string
	// Connections is how many connections are kept for reuse, and at most opened.
	// Default 64.
	Connections int
	// HTTP replaces the client's own transport; Connections is then not used.
	HTTP *http.Client
	// OnRetry is told of each try that failed and is going to be repeated. It must
	// be quick and safe for concurrent use. Nil: nobody is.
	OnRetry func(error)
}

// Client is safe for concurrent use.
type Client struct {
	cfg  Config
	http *http.Client
	own  bool // http was made here
}

// New checks the configuration; it does not connect. The error names the field.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("client: Config.URL must be an http or https URL") // which may hold a secret
	case cfg.Key == "":
		return nil, errors.New("client: Config.Key must not be empty")
	case cfg.Connections < 0:
		return nil, errors.New("client: Config.Connections must not be negative")
	}
	cfg.URL = strings.TrimRight(cfg.URL, "/")
	if cfg.Patience == 0 {
		cfg.Patience = 30 * time.Second
	}
	if cfg.Connections == 0 {
		cfg.Connections = 64
	}
	c := &Client{cfg: cfg, http: cfg.HTTP}
	if c.http == nil {
		c.own = true
		c.http = &http.Client{Transport: &http.Transport{
			Proxy:           http.ProxyFromEnvironment,
			MaxConnsPerHost: cfg.Connections, MaxIdleConnsPerHost: cfg.Connections, IdleConnTimeout: 45 * time.Second,
			ResponseHeaderTimeout: 40 * time.Second,
		}}
	}
	return c, nil
}

// Close closes the idle connections of a client that has its own.
func (c *Client) Close() {
	if c.own {
		c.http.CloseIdleConnections()
	}
}
