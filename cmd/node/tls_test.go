package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
)

// authority is a CA that nobody knows, and what it certifies.
type authority struct {
	file        string // its certificate
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	dir         string
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{dir: dir, file: filepath.Join(dir, name+".pem"), certificate: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	a.key = a.sign(t, a.certificate, nil, a.file)
	return a
}

// sign writes a certificate, signed by the authority, or by itself if that has no key
// yet, and returns the new key.
func (a *authority) sign(t *testing.T, c *x509.Certificate, by *ecdsa.PrivateKey, file string) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.certificate, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, file, "CERTIFICATE", der, 0o644)
	return key
}

func writePEM(t *testing.T, file, kind string, der []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		t.Fatal(err)
	}
}

// server makes a server's certificate for the name localhost alone, and its key, which
// the user that private servers run as may read.
func (a *authority) server(t *testing.T, name string) (certificate, key string) {
	t.Helper()
	certificate, key = filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key")
	secret := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.key, certificate)
	der, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, key, "PRIVATE KEY", der, 0o600)
	return certificate, key
}

// forPostgres gives a file to the user that Postgres runs as where the tests are root.
func forPostgres(t *testing.T, file string) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	if err := os.Chown(file, uid, -1); err != nil {
		t.Fatal(err)
	}
}

// secured are stores that speak TLS, with certificates of a private CA.
type secured struct {
	authority, stranger    string // files: the CA, and one that certified nobody
	redis, postgres        *url.URL
	redisSecret, pgxSecret string // passwords
	key                    string // file of the secret key that all nodes share
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	// Not t.TempDir, which the user that Postgres runs as could not reach.
	dir, err := os.MkdirTemp("", "mollifier-tls-")
	if err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	ca := newAuthority(t, dir, "ca")
	s := &secured{authority: ca.file, stranger: newAuthority(t, dir, "stranger").file, key: filepath.Join(dir, "secret.key")}
	certificate, key := ca.server(t, "redis")
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	_ = listener.Close()
	r := stacktest.PrivateRedis(t, func(c *devstack.RedisConfig) {
		c.Settings = map[string]string{
			"tls-port": port, "tls-cert-file": certificate, "tls-key-file": key, "tls-ca-cert-file": ca.file, "tls-auth-clients": "no",
		}
	})
	certificate, key = ca.server(t, "postgres")
	forPostgres(t, key)
	p := stacktest.PrivatePostgres(t, func(c *devstack.PostgresConfig) {
		c.Settings = map[string]string{"ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": key}
	})
	s.redis, err = url.Parse(r.URL())
	if err != nil {
		t.Fatal("not a URL")
	}
	s.redis.Scheme, s.redis.Host = "rediss", net.JoinHostPort("localhost", port)
	s.redisSecret, _ = s.redis.User.Password()
	s.postgres, err = url.Parse(p.URL())
	if err != nil {
		t.Fatal("not a URL")
	}
	s.postgres.Host = net.JoinHostPort("localhost", s.postgres.Port())
	s.pgxSecret, _ = s.postgres.User.Password()
	return s
}

// node starts one that trusts an authority, on stores under these names.
func (s *secured) node(t *testing.T, authority, redisName, postgresName string) (p *proc, data string) {
	t.Helper()
	redis, postgres := *s.redis, *s.postgres
	redis.Host = net.JoinHostPort(redisName, redis.Port())
	postgres.Host = net.JoinHostPort(postgresName, postgres.Port())
	// The system's authorities, of which SSL_CERT_FILE is the list, for both.
	postgres.RawQuery = url.Values{"sslmode": {"verify-full"}}.Encode()
	data = folder(t)
	return command(t, []string{"SSL_CERT_FILE=" + authority, "SSL_CERT_DIR=" + t.TempDir()},
		"-data", data, "-listen", "127.0.0.1:0", "-redis", redis.String(), "-postgres", postgres.String(), "-seed", "-secret-key-file", s.key), data
}

// Both stores over TLS with a private CA: the right name is served; a wrong name and a
// wrong CA are refused, for a reason that says so and holds no address and no password.
func TestStoresOverTLS(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	const refusal = "certificate"
	silent := func(t *testing.T, p *proc) {
		t.Helper()
		for _, secret := range []string{s.redisSecret, s.pgxSecret, s.redis.Host, s.postgres.Host, "127.0.0.1:" + s.redis.Port(), "127.0.0.1:" + s.postgres.Port()} {
			if text := p.stderr.String() + p.stdout.String(); strings.Contains(text, secret) {
				t.Errorf("it says a secret or an address:\n%s", text)
			}
		}
	}
	t.Run("right", func(t *testing.T) {
		p, data := s.node(t, s.authority, "localhost", "localhost")
		p.waitOut(t, p.stdout, "ready")
		i := info(t, data)
		if status, body := call(t, client(t), http.MethodPost, i.HTTP+"/api/v1/tasks/hello/trigger", i.Environments[0].Key,
			`{"options":{"idempotencyKey":"k"}}`); status != http.StatusOK {
			t.Errorf("%d %s", status, body)
		}
		if log := p.stderr.String(); strings.Contains(log, "does not answer") {
			t.Errorf("a store was not used: %s", log)
		}
		p.stop(t)
	})
	for name, c := range map[string]struct{ authority, redis, postgres string }{
		"wrong authority":        {s.stranger, "localhost", "localhost"},
		"wrong name of Postgres": {s.authority, "localhost", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := s.node(t, c.authority, c.redis, c.postgres)
			if code := p.wait(t); code != exitFailure || !strings.Contains(p.stderr.String(), refusal) {
				t.Errorf("status %d: %s", code, p.stderr)
			}
			silent(t, p)
		})
	}
	// A node serves without Redis, by Postgres alone, and says what keeps it from it.
	t.Run("wrong name of Redis", func(t *testing.T) {
		p, _ := s.node(t, s.authority, "127.0.0.1", "localhost")
		p.waitOut(t, p.stderr, "certificate was not accepted")
		p.waitOut(t, p.stdout, "ready")
		p.stop(t)
		silent(t, p)
	})
}
