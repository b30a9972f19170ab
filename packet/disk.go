package packet

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// MaxSize is the largest packet of a [Disk], in bytes.
const MaxSize = 64 << 20

// ErrURL: the URL was not signed here, is for something else, or has ended.
var ErrURL = errors.New("packet: the URL is not valid, or no longer")

// DiskConfig says how a [Disk] works.
type DiskConfig struct {
	// Dir is the folder of the packets; it is made if it is missing. Required.
	Dir string
	// Secret is what URLs are signed with: the same on all nodes that serve one
	// another's. Required, at least 16 bytes.
	Secret []byte
	// Quota is how many bytes one environment may keep. Default 10 GiB.
	Quota int64
	// Keep is after how long a packet is removed: longer than any run may wait, and
	// than its payload is to be read. 0 keeps it for ever.
	Keep time.Duration
	// Now is the clock of URLs and of ages. Default time.Now.
	Now func() time.Time
}

// Disk keeps packets in a folder. Its methods are safe for concurrent use.
type Disk struct {
	cfg     DiskConfig
	signer  signer
	root    *os.Root
	usage   usage
	writers chan struct{}
}

const maxWriters = 128

// OpenDisk opens the folder and counts what is in it.
func OpenDisk(ctx context.Context, cfg DiskConfig) (*Disk, error) {
	if len(cfg.Secret) < 16 {
		return nil, errors.New("packet: DiskConfig.Secret must be at least 16 bytes")
	}
	if cfg.Quota == 0 {
		cfg.Quota = 10 << 30
	}
	if cfg.Quota < 0 || cfg.Keep < 0 {
		return nil, errors.New("packet: DiskConfig.Quota and Keep must not be negative")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s, err := newSigner(cfg.Secret)
	if err != nil {
		return nil, fmt.Errorf("packet: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("packet: %w", bare(err))
	}
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("packet: %w", bare(err))
	}
	d := &Disk{cfg: cfg, signer: s, root: root, usage: usage{most: cfg.Quota}, writers: make(chan struct{}, maxWriters)}
	if _, err := d.Sweep(ctx); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return d, nil
}

// Close ends the use of the folder.
func (d *Disk) Close() error { return d.root.Close() }

// Upload returns a URL below base that takes the packet in one PUT. The error is
// [run.ErrQuota] when the environment has no room left.
func (d *Disk) Upload(_ context.Context, base, environment, name string) (string, error) {
	if err := check(environment, name); err != nil {
		return "", err
	}
	if d.usage.full(environment) {
		return "", errQuota
	}
	return d.signer.url(base, Put, environment, name, d.cfg.Now().Add(UploadLife)), nil
}

// Download returns a URL below base that gives the packet to a GET. The error is
// [run.ErrNotFound] where the environment has no such packet.
func (d *Disk) Download(_ context.Context, base, environment, name string) (string, error) {
	if err := check(environment, name); err != nil {
		return "", err
	}
	if _, err := d.root.Stat(place(environment, name)); err != nil {
		return "", notFound(err)
	}
	return d.signer.url(base, Get, environment, name, d.cfg.Now().Add(DownloadLife)), nil
}

func check(environment, name string) error {
	if !validEnvironment(environment) || !ValidName(name) {
		return &run.InvalidError{Field: "packet name", Rule: fmt.Sprintf("must be a path of plain segments, at most %d bytes", MaxName)}
	}
	return nil
}

var errQuota = &run.RefusedError{Reason: run.ErrQuota, Part: "packets", RetryAfter: 10 * time.Second}

// place is where a packet lies in the folder.
func place(environment, name string) string {
	h := sha256.Sum256([]byte(name))
	text := hex.EncodeToString(h[:])
	return filepath.Join(environment, text[:2], text)
}

// about is the first line of a packet's file.
type about struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

const maxType = 256

// Store takes the packet that a signed URL is for: exactly size bytes of body. It
// returns once they are safe. Errors: [ErrURL]; a [*run.InvalidError] that names
// the limit; [run.ErrQuota]; [run.ErrOverloaded]; io.ErrUnexpectedEOF for a body
// that ends before; those of the body.
func (d *Disk) Store(environment, name string, q url.Values, contentType string, size int64, body io.Reader) (err error) {
	switch {
	case check(environment, name) != nil || !d.signer.good(Put, environment, name, q, d.cfg.Now()):
		return ErrURL
	case size < 0 || size > MaxSize:
		return &run.InvalidError{Field: "packet", Rule: fmt.Sprintf("of known size, at most %d bytes", MaxSize), Fault: run.TooLarge}
	case len(contentType) > maxType:
		return &run.InvalidError{Field: "content-type", Rule: fmt.Sprintf("at most %d bytes", maxType)}
	}
	select {
	case d.writers <- struct{}{}:
		defer func() { <-d.writers }()
	default:
		return &run.RefusedError{Reason: run.ErrOverloaded, Part: "packets", RetryAfter: time.Second}
	}
	line, err := json.Marshal(about{name, contentType})
	if err != nil {
		return err
	}
	line = append(line, '\n')
	whole := int64(len(line)) + size
	if !d.usage.take(environment, whole) {
		return errQuota
	}
	replaced, err := d.write(place(environment, name), line, size, body)
	if err != nil {
		d.usage.give(environment, whole)
		return err
	}
	d.usage.give(environment, replaced)
	return nil
}

// write makes the file in the steps that the package's text names, and returns the
// size of the one that it replaced.
func (d *Disk) write(at string, line []byte, size int64, body io.Reader) (replaced int64, err error) {
	dir := filepath.Dir(at)
	if err := d.mkdirs(dir); err != nil {
		return 0, err
	}
	temporary := filepath.Join(dir, temporaryName())
	f, err := d.root.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, bare(err)
	}
	defer func() {
		if err != nil { // neither can be made worse by what follows
			_ = f.Close()
			_ = d.root.Remove(temporary)
		}
	}()
	if _, err := f.Write(line); err != nil {
		return 0, bare(err)
	}
	n, err := io.CopyN(f, body, size)
	switch {
	case errors.Is(err, io.EOF) && n < size:
		return 0, io.ErrUnexpectedEOF
	case err != nil:
		return 0, bare(err)
	}
	if err := f.Sync(); err != nil {
		return 0, bare(err)
	}
	if old, err := d.root.Stat(at); err == nil {
		replaced = old.Size()
	}
	if err := d.root.Rename(temporary, at); err != nil {
		return 0, bare(err)
	}
	// It has its name from here on: a failure is told, and the next sweep counts it.
	return replaced, errors.Join(f.Close(), d.sync(dir))
}

// mkdirs makes the folders of a packet, each known to the one above it.
func (d *Disk) mkdirs(dir string) error {
	err := d.root.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		above := filepath.Dir(dir)
		if err := d.root.Mkdir(above, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return bare(err)
		}
		if err := d.sync("."); err != nil {
			return err
		}
		err = d.root.Mkdir(dir, 0o700)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return bare(err)
	}
	return d.sync(filepath.Dir(dir))
}

func (d *Disk) sync(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return bare(err)
	}
	return errors.Join(bare(f.Sync()), f.Close())
}

// File is a packet that is being read.
type File struct {
	Type string // content type, as it was uploaded
	Size int64
	r    *bufio.Reader
	f    *os.File
}

// Read implements io.Reader.
func (f *File) Read(p []byte) (int, error) { return f.r.Read(p) }

// Close ends the reading.
func (f *File) Close() error { return f.f.Close() }

// Load opens the packet that a signed URL is for. Errors: [ErrURL], [run.ErrNotFound].
func (d *Disk) Load(environment, name string, q url.Values) (*File, error) {
	if check(environment, name) != nil || !d.signer.good(Get, environment, name, q, d.cfg.Now()) {
		return nil, ErrURL
	}
	f, err := d.root.Open(place(environment, name))
	if err != nil {
		return nil, notFound(err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(bare(err), f.Close())
	}
	r := bufio.NewReaderSize(f, 32<<10)
	line, err := r.ReadBytes('\n')
	var a about
	if err == nil {
		err = json.Unmarshal(line, &a)
	}
	if err != nil {
		return nil, errors.Join(errors.New("packet: the file has no first line"), f.Close())
	}
	return &File{a.Type, info.Size() - int64(len(line)), r, f}, nil
}

func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("packet: %w", run.ErrNotFound)
	}
	return bare(err)
}

// bare drops the paths that errors of package os carry.
func bare(err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Err
	case errors.As(err, &l):
		return l.Err
	}
	return err
}
