package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"time"

	"github.com/e0ff5a15/mollifier/packet"
	"github.com/e0ff5a15/mollifier/run"
)

// Packets keep the payloads and outputs that are too large for a body. They are
// safe for concurrent use.
type Packets interface {
	// Upload returns a URL that takes one PUT of the packet; base is this node's
	// address, for those who serve their own URLs. Errors: run.ErrInvalid for the
	// name, run.ErrQuota, run.ErrUnavailable.
	Upload(ctx context.Context, base, environment, name string) (string, error)
	// Download returns a URL that gives the packet to a GET. Errors: as Upload, and
	// run.ErrNotFound.
	Download(ctx context.Context, base, environment, name string) (string, error)
}

// localPackets serve the URLs that they hand out.
type localPackets interface {
	Store(environment, name string, q url.Values, contentType string, size int64, body io.Reader) error
	Load(environment, name string, q url.Values) (*packet.File, error)
}

func (a *api) packetOperations() []operation {
	url := reflect.TypeFor[packetAnswer]()
	return []operation{
		{
			method: http.MethodPut, path: "/api/v2/packets/{name}", do: a.uploadURL,
			id: "uploadURL", summary: "A URL to upload a large payload to", answer: url,
		},
		{
			method: http.MethodPut, path: "/api/v1/packets/{name}", do: a.uploadURL,
			id: "uploadURLV1", summary: "As uploadURL, for older clients", answer: url,
		},
		{
			method: http.MethodGet, path: "/api/v1/packets/{name}", do: a.downloadURL,
			id: "downloadURL", summary: "A URL to download a payload or output from", answer: url,
		},
		{
			method: http.MethodGet, path: "/api/v1/runs/{runId}/packets/{field}", do: a.runPacket,
			id: "runPacket", summary: "A URL to download a run's payload or output from", scope: "read:runs", answer: url,
		},
		{
			method: http.MethodPut, path: "/packets/{environment}/{name}", open: true, do: a.storePacket,
			id: "storePacket", summary: "Upload a packet; the URL is made by uploadURL", answer: reflect.TypeFor[struct{}](),
		},
		{
			method: http.MethodGet, path: "/packets/{environment}/{name}", open: true, do: a.loadPacket,
			id: "loadPacket", summary: "Download a packet; the URL is made by downloadURL", answer: reflect.TypeFor[struct{}](),
		},
	}
}

type packetAnswer struct {
	PresignedURL string `json:"presignedUrl"`
	StoragePath  string `json:"storagePath"` // what a trigger names as its payload
}

// base is the address that the caller reaches this node by.
func (a *api) base(c *call) string {
	if a.PublicURL != "" {
		return a.PublicURL
	}
	scheme := "http"
	if c.TLS != nil || c.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + c.Host
}

func noPacket(err error) error {
	if errors.Is(err, run.ErrNotFound) {
		return newProblem(http.StatusNotFound, "packet-not-found", "Packet not found").with("X-Should-Retry", "false")
	}
	return err
}

// packets are where packets are kept, or a 404 as of a path that there is not.
func (a *api) packets() (Packets, error) {
	if a.Packets == nil {
		return nil, errNoRoute
	}
	return a.Packets, nil
}

// uploadURL answers PUT /api/v2/packets/{name}.
func (a *api) uploadURL(ctx context.Context, c *call) (reply, error) {
	return a.presign(c, c.PathValue("name"), func(p Packets, name string) (string, error) {
		return p.Upload(ctx, a.base(c), c.env.ID, name)
	})
}

// downloadURL answers GET /api/v1/packets/{name}.
func (a *api) downloadURL(ctx context.Context, c *call) (reply, error) {
	return a.presign(c, c.PathValue("name"), func(p Packets, name string) (string, error) {
		return p.Download(ctx, a.base(c), c.env.ID, name)
	})
}

func (a *api) presign(_ *call, name string, sign func(p Packets, name string) (string, error)) (reply, error) {
	p, err := a.packets()
	if err != nil {
		return reply{}, err
	}
	signed, err := sign(p, name)
	if err != nil {
		return reply{}, noPacket(err)
	}
	return answer(packetAnswer{signed, name})
}

// runPacket answers GET /api/v1/runs/{runId}/packets/{field}.
func (a *api) runPacket(ctx context.Context, c *call) (reply, error) {
	r, err := a.readRun(ctx, c)
	if err != nil {
		return reply{}, err
	}
	kept, kind := r.Trigger.Payload, r.Trigger.PayloadType
	switch c.PathValue("field") {
	case "payload":
	case "output":
		kept, kind = r.Output, r.OutputType
	default:
		return reply{}, errNoRoute
	}
	if kind != typeStore {
		return reply{}, noPacket(run.ErrNotFound)
	}
	return a.presign(c, string(kept), func(p Packets, name string) (string, error) {
		return p.Download(ctx, a.base(c), c.env.ID, name)
	})
}

// storedURL is where what a run refers to can be downloaded from; nothing where it
// refers to none, or there is none.
func (a *api) storedURL(ctx context.Context, c *call, kind string, kept []byte) string {
	if kind != typeStore || a.Packets == nil {
		return ""
	}
	signed, err := a.Packets.Download(ctx, a.base(c), c.env.ID, string(kept))
	if err != nil {
		return "" // the rest of the run is readable all the same
	}
	return signed
}

// The patience with those who move packets: as long as something moves, up to an
// end. The server's own limits are for bodies that fit into memory.
const (
	packetPause = 15 * time.Second
	packetEnd   = 5 * time.Minute
)

// moving moves the connection's deadlines on as long as a packet moves.
type moving struct {
	c   *call
	end time.Time
}

func (c *call) moving() moving { return moving{c, time.Now().Add(packetEnd)} }

// on ignores what a connection that can not be controlled says: it has none to wait for.
func (m moving) on() {
	next := time.Now().Add(packetPause)
	if next.After(m.end) {
		next = m.end
	}
	_ = m.c.control.SetReadDeadline(next)
	_ = m.c.control.SetWriteDeadline(next.Add(packetPause))
}

type movingReader struct {
	moving
	from io.Reader
}

// Read implements io.Reader.
func (m movingReader) Read(p []byte) (int, error) {
	m.on()
	return m.from.Read(p)
}

// local are packets whose URLs this node serves.
func (a *api) local() (localPackets, error) {
	if p, ok := a.Packets.(localPackets); ok {
		return p, nil
	}
	return nil, errNoRoute
}

// storePacket answers PUT of a URL that uploadURL made.
func (a *api) storePacket(_ context.Context, c *call) (reply, error) {
	p, err := a.local()
	if err != nil {
		return reply{}, err
	}
	err = p.Store(c.PathValue("environment"), c.PathValue("name"), c.URL.Query(), c.Header.Get("Content-Type"),
		c.ContentLength, movingReader{c.moving(), c.Body})
	if err != nil {
		return reply{}, ofPacket(bodyFault(err))
	}
	return answer(struct{}{})
}

// loadPacket answers GET of a URL that downloadURL made.
func (a *api) loadPacket(_ context.Context, c *call) (reply, error) {
	p, err := a.local()
	if err != nil {
		return reply{}, err
	}
	f, err := p.Load(c.PathValue("environment"), c.PathValue("name"), c.URL.Query())
	if err != nil {
		return reply{}, ofPacket(noPacket(err))
	}
	kind := f.Type
	if kind == "" {
		kind = "application/octet-stream"
	}
	// A packet is what somebody uploaded: it is never shown as a page of this host.
	header := http.Header{"Content-Type": {kind}, "Content-Disposition": {"attachment"}, "Content-Security-Policy": {"sandbox; default-src 'none'"}}
	return reply{status: http.StatusOK, header: header, stream: struct {
		io.Reader
		io.Closer
	}{movingReader{c.moving(), f}, f}, size: f.Size}, nil
}

func ofPacket(err error) error {
	if errors.Is(err, packet.ErrURL) {
		return newProblem(http.StatusForbidden, "url-invalid", "The URL is not valid, or no longer")
	}
	return err
}
