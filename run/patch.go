package run

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxReason is the most bytes of a cancellation's reason that are kept.
const MaxReason = 1024

// Patch is one change of a run that is still in the buffer. It holds results,
// not instructions: the tags to add were checked against the cap and the
// metadata was computed when the patch was made, so applying it can not fail
// and applying it twice is the same as once. Make patches with the methods of
// [Patched]; the zero patch changes nothing.
type Patch struct {
	// Ver is the version of the run that the patch made: one more than the
	// version it was made from. The run as it was accepted is version 0.
	Ver int64
	// At is when the patch was made, on the clock of the store that keeps it.
	At       Instant
	Cancel   *Cancellation
	AddTags  []string
	Metadata *Metadata
	Delay    Instant // the new moment to wait for; zero changes nothing
}

// Cancellation says why a run was cancelled, for its owner; it may be empty.
type Cancellation struct {
	Reason string `json:"reason,omitempty"`
}

// Failure is the cancellation as the error of a cancelled run.
func (c Cancellation) Failure() *Failure {
	if c.Reason == "" {
		return &Failure{Message: "The run was cancelled."}
	}
	return &Failure{Message: c.Reason}
}

// Metadata is a whole metadata document: bytes that are kept as they are, and
// their type.
type Metadata struct {
	Bytes []byte
	Type  string
}

// Empty reports whether the patch changes nothing and need not be stored.
func (p *Patch) Empty() bool {
	return p.Cancel == nil && len(p.AddTags) == 0 && p.Metadata == nil && p.Delay == 0
}

// patchVersion is the first byte of a stored patch. A build reads every version
// up to its own and reports a later one as [ErrUnknownVersion].
const patchVersion = 1

// patchHeader is the JSON part of a stored patch: a stored format, whose names
// may be added to, never renamed or reused.
type patchHeader struct {
	Ver      int64         `json:"ver"`
	At       Instant       `json:"at,omitempty"`
	Cancel   *Cancellation `json:"cancel,omitempty"`
	Tags     []string      `json:"tags,omitempty"`
	MetaType *string       `json:"metaType,omitempty"`
	Delay    Instant       `json:"delay,omitempty"`
}

// Append appends the stored form: the version byte, then two parts behind their
// lengths: a JSON header, and the metadata's bytes, which are never re-encoded.
// As in a snapshot, lengths are shifted by one so that nil is not empty.
func (p *Patch) Append(b []byte) ([]byte, error) {
	h := patchHeader{Ver: p.Ver, At: p.At, Cancel: p.Cancel, Tags: p.AddTags, Delay: p.Delay}
	var metadata []byte
	if p.Metadata != nil {
		h.MetaType, metadata = &p.Metadata.Type, p.Metadata.Bytes
	}
	head, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("run: encode patch: %w", err)
	}
	return appendRecord(b, patchVersion, head, metadata), nil
}

// DecodePatch reads what [Patch.Append] wrote. The result shares memory with b.
// A version of a later build is [ErrUnknownVersion]; anything else that does
// not decode is an error too, and the record must be kept.
func DecodePatch(b []byte) (Patch, error) {
	var parts [2][]byte
	if err := cutRecord("patch", b, patchVersion, parts[:]); err != nil {
		return Patch{}, err
	}
	var h patchHeader
	if err := json.Unmarshal(parts[0], &h); err != nil {
		return Patch{}, fmt.Errorf("run: decode patch header: %w", err)
	}
	p := Patch{Ver: h.Ver, At: h.At, Cancel: h.Cancel, AddTags: h.Tags, Delay: h.Delay}
	if h.MetaType != nil {
		p.Metadata = &Metadata{Bytes: parts[1], Type: *h.MetaType}
	}
	return p, nil
}

// Patched is what a buffered run has become: its snapshot with the patches
// applied, and what a snapshot has no place for.
type Patched struct {
	Snapshot
	Ver       int64   // the last version applied; 0 for a run that was never changed
	UpdatedAt Instant // of the last patch, else the acceptance
	// Cancelled is nil unless the run was cancelled, which is for ever.
	Cancelled   *Cancellation
	CancelledAt Instant
}

// Apply returns what the run becomes with the patches, in the order of their
// versions, whatever order they come in. Neither s nor the patches are changed;
// bytes are shared.
func (s *Snapshot) Apply(patches ...Patch) Patched {
	p := Patched{Snapshot: *s, UpdatedAt: s.AcceptedAt}
	for _, patch := range InOrder(patches) {
		p.apply(&patch)
	}
	return p
}

// InOrder returns the patches sorted by version, each version once.
func InOrder(patches []Patch) []Patch {
	if len(patches) < 2 {
		return patches
	}
	sorted := slices.Clone(patches)
	slices.SortStableFunc(sorted, func(a, b Patch) int {
		switch {
		case a.Ver < b.Ver:
			return -1
		case a.Ver > b.Ver:
			return 1
		}
		return 0
	})
	return slices.CompactFunc(sorted, func(a, b Patch) bool { return a.Ver == b.Ver })
}

func (p *Patched) apply(patch *Patch) {
	p.Ver = max(p.Ver, patch.Ver)
	p.UpdatedAt = max(p.UpdatedAt, patch.At)
	if patch.Cancel != nil && p.Cancelled == nil {
		c := *patch.Cancel
		p.Cancelled, p.CancelledAt = &c, patch.At
	}
	p.Trigger.Tags = UniteTags(p.Trigger.Tags, patch.AddTags)
	if patch.Metadata != nil {
		p.Trigger.Metadata, p.Trigger.MetadataType = patch.Metadata.Bytes, patch.Metadata.Type
	}
	if patch.Delay != 0 {
		p.Trigger.DelayUntil = patch.Delay.Time()
	}
}

// Status is the run's status at the given instant: what it is in the buffer,
// and what its row is to be born as.
func (p *Patched) Status(now Instant) Status {
	due := p.AcceptedAt
	if !p.Trigger.DelayUntil.IsZero() {
		due = max(due, InstantOf(p.Trigger.DelayUntil))
	}
	switch {
	case p.Trigger.Failed != nil:
		return Failed
	case p.Cancelled != nil:
		return Canceled
	case p.Trigger.TTL > 0 && due.Add(p.Trigger.TTL) <= now:
		return Expired
	case !p.Trigger.DelayUntil.IsZero() && InstantOf(p.Trigger.DelayUntil) > now:
		return Delayed
	}
	return Queued
}

// next begins a patch that is made at the given instant.
func (p *Patched) next(at Instant) Patch { return Patch{Ver: p.Ver + 1, At: at} }

// Cancel makes the patch that cancels the run; it is empty if the run is final
// already, cancelled or expired. A reason is cut to [MaxReason] bytes, and what Postgres can
// not hold is taken out of it.
func (p *Patched) Cancel(at Instant, reason string) Patch {
	patch := p.next(at)
	if !p.Status(at).Final() {
		patch.Cancel = &Cancellation{Reason: CleanReason(reason)}
	}
	return patch
}

// Tag makes the patch that adds tags to the run's set; it is empty if the run
// has them all. Over [MaxTags] in total none is added: [*InvalidError].
func (p *Patched) Tag(at Instant, tags []string) (Patch, error) {
	missing, err := NewTags(p.Trigger.Tags, tags)
	if err != nil {
		return Patch{}, err
	}
	patch := p.next(at)
	patch.AddTags = missing
	return patch, nil
}

// SetMetadata makes the patch that changes the metadata. A run that is final is
// [ErrConflict]; see [MetadataChange.Result] for the other errors.
func (p *Patched) SetMetadata(at Instant, c MetadataChange) (Patch, error) {
	if status := p.Status(at); status.Final() {
		return Patch{}, fmt.Errorf("the metadata of a run that is %s can not change: %w", status, ErrConflict)
	}
	result, err := c.Result(Metadata{p.Trigger.Metadata, p.Trigger.MetadataType})
	if err != nil {
		return Patch{}, err
	}
	patch := p.next(at)
	patch.Metadata = result
	return patch, nil
}

// Reschedule makes the patch that moves the run's delay. A run that is not
// DELAYED at the given instant is [ErrConflict].
func (p *Patched) Reschedule(at Instant, until time.Time) (Patch, error) {
	if err := ValidDelay("delay", until); err != nil {
		return Patch{}, err
	}
	if status := p.Status(at); status != Delayed {
		return Patch{}, fmt.Errorf("a run that is %s can not be rescheduled: %w", status, ErrConflict)
	}
	patch := p.next(at)
	patch.Delay = InstantOf(until)
	return patch, nil
}

// ValidDelay refuses a moment that no store keeps; the error is an [*InvalidError].
func ValidDelay(field string, until time.Time) error {
	v := &validation{}
	if until.IsZero() || until.Year() > 9999 || until.Year() < 1971 {
		v.fail(field, "a year from 1971 to 9999", Malformed)
	}
	return v.err()
}

// NewTags returns those of add that are not in have, each once. It is all or
// nothing: if one is not a tag, or both together are more than [MaxTags], the
// result is an [*InvalidError].
func NewTags(have, add []string) ([]string, error) {
	v := &validation{}
	var missing []string
	for _, tag := range add {
		if strings.TrimSpace(tag) == "" {
			v.fail("tags", "must not contain a blank tag", Malformed)
		}
		v.units("tags", tag, MaxTagLen)
		if !slices.Contains(have, tag) && !slices.Contains(missing, tag) {
			missing = append(missing, tag)
		}
		if len(missing) > 0 && distinct(have)+len(missing) > MaxTags {
			v.fail("tags", fmt.Sprintf("at most %d in total", MaxTags), Unprocessable)
		}
		if v.first != nil {
			return nil, v.err()
		}
	}
	return missing, nil
}

func distinct(tags []string) int {
	n := 0
	for i, tag := range tags {
		if !slices.Contains(tags[:i], tag) {
			n++
		}
	}
	return n
}

// UniteTags returns have and those of add that it lacks, as many as fit into
// [MaxTags]. Neither is changed.
func UniteTags(have, add []string) []string {
	united := have
	for _, tag := range add {
		if len(united) >= MaxTags {
			break
		}
		if !slices.Contains(united, tag) {
			united = append(slices.Clip(united), tag)
		}
	}
	return united
}

// CleanReason is the reason of a cancellation as it is kept: at most
// [MaxReason] bytes of valid UTF-8 without NUL.
func CleanReason(reason string) string {
	if len(reason) > MaxReason {
		cut := MaxReason
		for cut > 0 && !utf8.RuneStart(reason[cut]) {
			cut--
		}
		reason = reason[:cut]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(reason, "\uFFFD"), "\x00", "")
}
