package httpapi

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/token"
)

// What a public token may do. An API key may do everything in its environment, so
// none of this concerns it. Each operation says by its scope which action and type
// a token needs; each handler says, once it has looked at the whole request and
// found what it is about, of which resources. So a wrong request is 400 before it
// is 403, and a run that does not exist is 403 for who may not see it, like one
// that does.
//
// A handler that forgets to ask answers nothing to a token: see [call.asked].

// anyToken is the scope of an operation that gives nothing away.
const anyToken = "any"

// errForgot is an operation that would have answered a token without asking what
// it may do. It is a fault of this package.
var errForgot = errors.New("operation did not ask for a permission")

// forbidden is what clients know of a token without the scope. Its type is theirs.
func forbidden() error {
	p := newProblem(http.StatusForbidden, "", "Unauthorized")
	p.Type, p.Docs = "authorization", problemDocs+"authorization"
	p.Code, p.Param = "unauthorized", "access_token"
	return p
}

// action is what the operation does to the things of its type.
func (op *operation) action() string {
	action, _, _ := strings.Cut(op.scope, ":")
	return action
}

// asked reports whether the call may be answered: it came with a key, or a handler
// has permitted it.
func (c *call) asked() bool {
	return c.token == nil || c.permitted || c.op.open || c.op.scope == anyToken
}

// permit returns nil if the call's credential may act on one of the resources, and
// a 403 otherwise. A resource without an id is every one of its type.
func (c *call) permit(resources ...token.Resource) error {
	if c.token == nil {
		return nil
	}
	if !c.token.Scopes.AllowAny(c.op.action(), resources...) {
		return forbidden()
	}
	c.permitted = true
	return nil
}

// permitEach is permit for an operation on all of the ids of a type at once.
func (c *call) permitEach(kind string, ids []string) error {
	if c.token == nil {
		return nil
	}
	if !c.token.Scopes.AllowEach(c.op.action(), kind, ids) {
		return forbidden()
	}
	c.permitted = true
	return nil
}

// permitSome is permit before it is known what the operation is about: anything of
// the type will do, and each thing is asked for when it comes.
func (c *call) permitSome(kind string) error {
	if c.token == nil {
		return nil
	}
	if !c.token.Scopes.AllowSome(c.op.action(), kind) {
		return forbidden()
	}
	c.permitted = true
	return nil
}

// readable are the names that a run may be read by. A change needs the run itself.
func readable(id string, r *run.Run) []token.Resource {
	all := []token.Resource{
		{Type: token.Runs, ID: id},
		{Type: token.Runs, ID: r.ID.String()},
		{Type: token.Tasks, ID: r.Trigger.Task},
	}
	if !r.Canonical.IsZero() {
		all = append(all, token.Resource{Type: token.Runs, ID: r.Canonical.String()})
	}
	for _, tag := range r.Trigger.Tags {
		all = append(all, token.Resource{Type: token.Tags, ID: tag})
	}
	if batch := r.Trigger.BatchItem.Batch; batch != "" {
		all = append(all, token.Resource{Type: token.Batch, ID: batch})
	}
	return all
}

// readRun reads the run of the path, wherever it is, for a credential that may
// read it by any of its names.
func (a *api) readRun(ctx context.Context, c *call) (run.Run, error) {
	text := c.PathValue("runId")
	byID := token.Resource{Type: token.Runs, ID: text}
	id, err := run.ParseID(text)
	var r run.Run
	if err != nil {
		err = errNoRun
	} else {
		r, err = a.Engine.Run(ctx, c.env.ID, id)
	}
	switch {
	case errors.Is(err, errNoRun), errors.Is(err, run.ErrNotFound):
		if refused := c.permit(byID); refused != nil {
			err = refused
		}
		return run.Run{}, err
	case err != nil:
		return run.Run{}, err
	}
	return r, c.permit(readable(text, &r)...)
}

// changeRun returns the id of the run of the path, for a credential that may
// change it. It does not look at the run.
func (a *api) changeRun(c *call) (run.ID, error) {
	text := c.PathValue("runId")
	if err := c.permit(token.Resource{Type: token.Runs, ID: text}); err != nil {
		return run.ID{}, err
	}
	id, err := run.ParseID(text)
	if err != nil {
		return run.ID{}, errNoRun
	}
	return id, nil
}

// permitList allows a list to who may read every run, and otherwise one that is
// narrowed to tasks, tags or a batch each of which may be read: then so may every
// run in it.
func (c *call) permitList(f *runstore.Filter) error {
	err := c.permit(token.Resource{Type: token.Runs})
	for _, narrowed := range []struct {
		kind string
		ids  []string
	}{{token.Tasks, f.Tasks}, {token.Tags, f.Tags}, {token.Batch, []string{f.Batch}}} {
		if err != nil {
			err = c.permitEach(narrowed.kind, narrowed.ids)
		}
	}
	return err
}

// mayRead reports whether a run that was not asked for may be shown beside one
// that was.
func (c *call) mayRead(v *relatedView) bool {
	if c.token == nil || v == nil {
		return v != nil
	}
	names := []token.Resource{{Type: token.Runs, ID: v.ID.String()}, {Type: token.Tasks, ID: v.TaskIdentifier}, {Type: token.Batch, ID: v.BatchID}}
	for _, tag := range v.Tags {
		names = append(names, token.Resource{Type: token.Tags, ID: tag})
	}
	return c.token.Scopes.AllowAny(token.Read, names...)
}

// spentMargin is how much longer than its token a use is remembered: clocks of
// nodes and of Postgres may differ.
const spentMargin = 10 * time.Minute

// spend uses the call's token up, if it may be used once, for what the parts name:
// the request key of the call, else its idempotency key, with all that tells one
// operation from another. So a retry of the same call has its token still. Without
// either key every use is another one.
func (a *api) spend(ctx context.Context, c *call, requestKey, idempotencyKey string, parts ...string) error {
	if c.token == nil || !c.token.OneTime {
		return nil
	}
	use := sha256.New()
	kind, key := "request", requestKey
	if key == "" {
		kind, key = "key", idempotencyKey
	}
	if key == "" {
		kind, key = "none", rand.Text()
	}
	for _, part := range append([]string{c.op.id, kind, key}, parts...) {
		h := sha256.Sum256([]byte(part))
		use.Write(h[:])
	}
	err := a.Engine.SpendToken(ctx, c.env.ID, c.token.Hash(), [sha256.Size]byte(use.Sum(nil)), c.token.Expires.Add(spentMargin))
	if errors.Is(err, run.ErrConflict) {
		return newProblem(http.StatusUnprocessableEntity, "token-used", "This one-time token has been used already")
	}
	return err
}
