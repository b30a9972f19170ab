package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/token"
	"github.com/e0ff5a15/mollifier/watch"
)

// The headers of a shape log. The handle names what is followed, the offset what
// the client has seen of it; it sends both with its next request.
const (
	headerHandle   = "Electric-Handle"
	headerOffset   = "Electric-Offset"
	headerSchema   = "Electric-Schema"
	headerCursor   = "Electric-Cursor"
	headerUpToDate = "Electric-Up-To-Date"
)

const (
	// fromStart is the offset of a client that has seen nothing.
	fromStart = "-1"
	// shapeVersion is that of handles and offsets: who comes with another begins anew.
	shapeVersion = "1"
	// defaultSince is how old runs with a tag are followed, unless it is said.
	defaultSince = 24 * time.Hour
	// maxShapeTags is how many tags a run can have.
	maxShapeTags = run.MaxTags
)

func (a *api) realtimeOperations() []operation {
	shape := func(path, id, summary, scope string, do func(context.Context, *call) (reply, error), more ...string) operation {
		return operation{
			method: http.MethodGet, path: path, do: do, id: id, summary: summary, scope: scope, wait: a.Poll,
			query:        append([]string{"offset", "handle", "live", "cursor", "skipColumns"}, more...),
			answer:       reflect.TypeFor[shapeLog](),
			answerHeader: []string{headerHandle, headerOffset, headerSchema, headerCursor, headerUpToDate},
		}
	}
	return []operation{
		shape("/realtime/v1/runs/{runId}", "followRun", "Follow a run", "read:runs", a.followRun),
		shape("/realtime/v1/runs", "followTags", "Follow the runs that have some tags", "read:runs", a.followTags, "tags", "createdAt"),
		shape("/realtime/v1/batches/{batchId}", "followBatch", "Follow the runs of a batch", "read:batch", a.followBatch),
	}
}

func (a *api) followRun(ctx context.Context, c *call) (reply, error) {
	text := c.PathValue("runId")
	if c.permit(token.Resource{Type: token.Runs, ID: text}) != nil {
		// Perhaps by its task, tags or batch, which the run knows.
		if _, err := a.readRun(ctx, c); err != nil {
			return reply{}, err
		}
	}
	id, err := run.ParseID(text)
	if err != nil {
		return reply{}, errNoRun
	}
	return a.follow(ctx, c, watch.Subject{Run: id})
}

func (a *api) followBatch(ctx context.Context, c *call) (reply, error) {
	id := c.PathValue("batchId")
	if err := c.permit(token.Resource{Type: token.Batch, ID: id}, token.Resource{Type: token.Runs}); err != nil {
		return reply{}, err
	}
	if !mayName(id) {
		return reply{}, noBatch()
	}
	if offset := c.URL.Query().Get("offset"); offset == "" || offset == fromStart { // who goes on has been told
		_, err := a.Engine.BatchHeader(ctx, c.env.ID, id)
		if errors.Is(err, run.ErrNotFound) {
			return reply{}, noBatch()
		}
		if err != nil {
			return reply{}, err
		}
	}
	return a.follow(ctx, c, watch.Subject{Batch: id})
}

func (a *api) followTags(ctx context.Context, c *call) (reply, error) {
	tags := listOf(c.URL.Query(), "tags")
	slices.Sort(tags)
	tags = slices.Compact(tags)
	switch {
	case len(tags) == 0:
		return reply{}, malformed("tags", "must name at least one tag")
	case len(tags) > maxShapeTags:
		return reply{}, malformed("tags", "at most "+strconv.Itoa(maxShapeTags))
	case !storable(strings.Join(tags, "")):
		return reply{}, malformed("tags", "must be valid UTF-8 without a NUL character")
	}
	names := []token.Resource{{Type: token.Runs}}
	for _, tag := range tags {
		names = append(names, token.Resource{Type: token.Tags, ID: tag}) // every run has all of them
	}
	if err := c.permit(names...); err != nil {
		return reply{}, err
	}
	return a.follow(ctx, c, watch.Subject{Tags: tags})
}

// follow answers one request of a client that follows a shape.
func (a *api) follow(ctx context.Context, c *call, s watch.Subject) (reply, error) {
	s.Environment = c.env.ID
	q := c.URL.Query()
	skips := listOf(q, "skipColumns")
	if c.token != nil {
		skips = append(skips, c.token.SkipColumns...)
	}
	skip, err := skipped(skips)
	if err != nil {
		return reply{}, err
	}
	age := defaultSince
	if text := q.Get("createdAt"); text != "" && len(s.Tags) > 0 {
		if age, err = parseDuration(text); err != nil {
			return reply{}, malformed("createdAt", err.Error())
		}
	}
	if len(s.Tags) > 0 {
		s.Since = a.Now().Add(-age).Truncate(time.Minute) // so that many who begin at about the same time follow the same
		if epoch := time.Unix(0, 0); s.Since.Before(epoch) {
			s.Since = epoch
		}
	}
	sh := shape{subject: s, skip: skip}
	known := watch.Known{}
	if offset := q.Get("offset"); offset != "" && offset != fromStart {
		var ok bool
		if known, ok = watch.ParseKnown(offset); !ok || !sh.continues(q.Get("handle")) {
			return sh.refetch()
		}
	}
	if q.Get("live") == "true" {
		return a.poll(ctx, c, &sh, known)
	}
	news, err := a.Engine.Watcher().Now(ctx, sh.subject, known)
	if err != nil {
		return reply{}, err
	}
	return sh.reply(news, false, a.Now())
}

// poll waits for what the client lacks.
func (a *api) poll(ctx context.Context, c *call, sh *shape, known watch.Known) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, a.Poll)
	defer cancel()
	defer context.AfterFunc(c.ending, cancel)()
	news, err := a.Engine.Watcher().Next(ctx, sh.subject, known)
	switch {
	case errors.Is(err, watch.ErrEnvironment):
		return reply{}, newProblem(http.StatusTooManyRequests, "too-many-watches", "This environment follows as much as it may. Retry later").
			with("Retry-After", "1").with("X-Ratelimit-Reset", strconv.FormatInt(a.Now().Add(time.Second).UnixMilli(), 10))
	case errors.Is(err, watch.ErrNode):
		return reply{}, newProblem(http.StatusServiceUnavailable, "overloaded", "Too many clients follow runs on this node. Retry").
			with("Retry-After", "1")
	case err != nil:
		return reply{}, err
	}
	return sh.reply(news, true, a.Now())
}

// shape is what one client follows, as it wants to see it.
type shape struct {
	subject watch.Subject
	skip    map[string]bool
}

// name is the part of the handle that tells shapes apart.
func (s *shape) name() string {
	parts := []string{shapeVersion, s.subject.Environment, s.subject.Run.String(), s.subject.Batch, strings.Join(s.subject.Tags, ","), ""}
	for _, c := range columns {
		if s.skip[c.name] {
			parts = append(parts, c.name)
		}
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return shapeVersion + "-" + hex.EncodeToString(sum[:8])
}

func (s *shape) handle() string {
	if s.subject.Since.IsZero() {
		return s.name()
	}
	return s.name() + "-" + strconv.FormatInt(s.subject.Since.Unix(), 10)
}

// continues takes over the instant since when runs are followed from the handle
// that the client was given. It is false for the handle of another shape.
func (s *shape) continues(handle string) bool {
	rest, ok := strings.CutPrefix(handle, s.name())
	if !ok || s.subject.Since.IsZero() {
		return ok && rest == ""
	}
	since, err := strconv.ParseInt(strings.TrimPrefix(rest, "-"), 10, 64)
	if err != nil || !strings.HasPrefix(rest, "-") || since < 0 || since > 1<<36 {
		return false
	}
	s.subject.Since = time.Unix(since, 0).UTC()
	return true
}

// refetch tells a client whose state is of no use here to begin anew.
func (s *shape) refetch() (reply, error) {
	re, err := answer(shapeLog{{Headers: shapeHeaders{Control: "must-refetch"}}})
	re.status = http.StatusConflict
	if err == nil {
		re.header.Set(headerHandle, s.handle())
		re.header.Set("X-Should-Retry", "false")
	}
	return re, err
}
