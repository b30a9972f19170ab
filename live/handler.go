package live

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"path"
	"strconv"
	"time"
)

// DataPath answers what the page shows, as JSON: the samples after the one whose
// number is the query's samples, the events after the one of events, and how things
// are now.
const DataPath = "/admin/v1/live"

//go:embed static
var static embed.FS

// policy lets the page load its own files and ask its own node, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler serves the page at /, its files below /live/, and [DataPath].
func (r *Recorder) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", file("index.html"))
	files, err := static.ReadDir("static")
	if err != nil {
		panic(err) // embedded
	}
	for _, f := range files {
		mux.Handle("GET /live/"+f.Name(), file(f.Name()))
	}
	mux.HandleFunc("GET "+DataPath, r.serveData)
	return mux
}

// file serves an embedded file, which a browser keeps as long as it is the same.
func file(name string) http.Handler {
	text, err := static.ReadFile(path.Join("static", name))
	if err != nil {
		panic(err) // embedded
	}
	sum := sha256.Sum256(text)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		h.Set("Etag", tag)
		http.ServeContent(w, req, name, time.Time{}, bytes.NewReader(text))
	})
}

// view is the answer of DataPath.
type view struct {
	Node struct {
		ID      string `json:"id"` // of this life of the node: the numbers begin anew with another
		Name    string `json:"name"`
		Version string `json:"version"`
		Began   int64  `json:"began"` // ms since 1970
	} `json:"node"`
	Now      int64    `json:"now"` // ms since 1970
	EveryMS  int64    `json:"everyMs"`
	Samples  []sample `json:"samples"`
	SampleAt int64    `json:"sample"` // the number of the newest
	Events   []event  `json:"events"`
	EventAt  int64    `json:"event"`
	State    state    `json:"state"`
	Nodes    []peer   `json:"nodes"`
	Board    board    `json:"board"`
}

func (r *Recorder) serveData(w http.ResponseWriter, req *http.Request) {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(req.URL.Query().Get(name), 10, 64)
		return n // what is no number is the beginning
	}
	text, err := json.Marshal(r.view(number("samples"), number("events")))
	if err != nil {
		r.Logger.Error("the live page's data can not be written", slog.Any("error", err))
		http.Error(w, "the data can not be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(text) // whoever asked may have gone
}

func (r *Recorder) view(samples, events int64) view {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.Now()
	v := view{
		Now: now.UnixMilli(), EveryMS: every.Milliseconds(), State: r.latest, Board: r.board,
		Samples: r.samples.after(samples), SampleAt: r.samples.seq,
		Events: r.events.after(events), EventAt: r.events.seq,
		Nodes: []peer{{ID: "", Self: true, word: r.wordLocked()}},
	}
	v.Node.ID = strconv.FormatInt(r.began.UnixNano(), 36)
	v.Node.Name, v.Node.Version, v.Node.Began = r.Name, r.Version, r.began.UnixMilli()
	if r.board.Known {
		v.Board.Silent = now.Sub(r.board.heard).Milliseconds()
	}
	for _, p := range r.others {
		p.AgeMS += v.Board.Silent
		v.Nodes = append(v.Nodes, p)
	}
	return v
}
