package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/tenant"
)

// replayBody is what is to be otherwise in a replay; what is absent is as it was
// in the run.
type replayBody struct {
	Payload           jsontext.Value `json:"payload"`
	PayloadType       field[string]  `json:"payloadType"`
	Tags              texts          `json:"tags"`
	Metadata          jsontext.Value `json:"metadata"`
	MetadataType      field[string]  `json:"metadataType"`
	Queue             field[string]  `json:"queue"`
	ConcurrencyKey    textOrNumber   `json:"concurrencyKey"`
	Machine           field[string]  `json:"machine"`
	Version           field[string]  `json:"version"`
	Region            field[string]  `json:"region"`
	Delay             field[string]  `json:"delay"`
	TTL               textOrNumber   `json:"ttl"`
	IdempotencyKey    field[string]  `json:"idempotencyKey"`
	IdempotencyKeyTTL field[string]  `json:"idempotencyKeyTTL"`
	MaxAttempts       integer        `json:"maxAttempts"`
	MaxDuration       number         `json:"maxDuration"`
	Priority          number         `json:"priority"`
}

// replay answers POST /api/v1/runs/{runId}/replay. It has a body only where
// something is to be otherwise. The request key protects it as it protects a trigger.
func (a *api) replay(ctx context.Context, c *call) (reply, error) {
	var body replayBody
	var err error
	if c.ContentLength != 0 {
		if body, err = readJSON[replayBody](c); err != nil {
			return reply{}, err
		}
	}
	requestKey, err := oneHeader(c.Header, headerRequestKey)
	if err != nil {
		return reply{}, err
	}
	inFlight, err := oneHeader(c.Header, headerInFlight)
	if err != nil {
		return reply{}, err
	}
	id, err := a.changeRun(c)
	if err != nil {
		return reply{}, err
	}
	result, err := a.Engine.Replay(ctx, c.env.ID, id, func(t *run.Trigger) error {
		t.RequestKey, t.InFlight = requestKey, run.InFlight(inFlight)
		return body.edit(t, c.env.Type, a.Now())
	})
	if err != nil {
		return reply{}, ofReplay(err)
	}
	return answer(idAnswer{result.ID().String()})
}

// edit makes a trigger, which does again what a run did, do what the body says.
func (b *replayBody) edit(t *run.Trigger, kind tenant.Type, now time.Time) (err error) {
	if b.Payload != nil {
		if t.Payload, err = storedPayload("payload", b.Payload, b.PayloadType.value); err != nil {
			return err
		}
		t.PayloadType, t.PayloadSize = b.PayloadType.value, int64(len(t.Payload))
	}
	if b.Tags != nil {
		t.Tags = b.Tags.set()
	}
	if b.Metadata != nil {
		t.Metadata, t.MetadataType = b.Metadata, b.MetadataType.value
	}
	for _, text := range [...]struct {
		from field[string]
		to   *string
	}{{b.Machine, &t.Machine}, {b.Version, &t.LockToVersion}, {b.Region, &t.Region}, {b.IdempotencyKey, &t.IdempotencyKey}} {
		if text.from.set {
			*text.to = text.from.value
		}
	}
	if b.Queue.set {
		t.Queue = queueName(b.Queue.value)
	}
	if b.ConcurrencyKey.kind != 0 {
		t.ConcurrencyKey = b.ConcurrencyKey.String()
	}
	if b.Delay.set {
		if t.DelayUntil, err = parseDelay(b.Delay.value, now); err != nil {
			return malformed("delay", err.Error())
		}
	}
	if b.TTL.kind != 0 {
		if t.TTL, t.TTLText, err = b.TTL.ttl("ttl", kind); err != nil {
			return err
		}
	}
	if b.IdempotencyKeyTTL.set {
		if t.KeyTTL, err = keyTTL("idempotencyKeyTTL", b.IdempotencyKeyTTL.value); err != nil {
			return err
		}
	}
	if b.MaxAttempts.set {
		t.MaxAttempts = b.MaxAttempts.int()
	}
	if b.MaxDuration.set {
		t.MaxDuration = max(run.MinMaxRunTime, seconds(b.MaxDuration.value))
	}
	if b.Priority.set {
		t.Priority = seconds(b.Priority.value)
	}
	return nil
}

// ofReplay has an error name the field as a replay's body does.
func ofReplay(err error) error {
	var invalid *run.InvalidError
	if !errors.As(err, &invalid) {
		return err
	}
	named := *invalid
	switch named.Field = strings.TrimPrefix(named.Field, "options."); named.Field {
	case "queue.name":
		named.Field = "queue"
	case "lockToVersion":
		named.Field = "version"
	}
	return ofHeader(&named)
}

// oneHeader is the value of a header, which must not be sent twice: either might
// be meant.
func oneHeader(h http.Header, name string) (string, error) {
	if len(h.Values(name)) > 1 {
		return "", malformed(strings.ToLower(name), "must not be sent twice")
	}
	return h.Get(name), nil
}
