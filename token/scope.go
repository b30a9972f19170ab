package token

import "strings"

// The actions that a scope may name, beside "*" for every one.
const (
	Read         = "read"
	Write        = "write"
	Trigger      = "trigger"
	BatchTrigger = "batchTrigger"
)

// The types of what a scope is about, beside "all" for every one.
const (
	Runs  = "runs"
	Tasks = "tasks"
	Tags  = "tags"
	Batch = "batch"
)

// Resource is what somebody wants to act on: one thing of a type, or, without an
// id, every thing of it.
type Resource struct{ Type, ID string }

// Scopes are what a token grants, each "action:type" or "action:type:id". An id
// may contain colons. What can not be read grants nothing; no scopes grant nothing.
type Scopes []string

// Allow reports whether one of the scopes grants the action on the resource:
//   - "admin", alone, grants everything;
//   - the action "*" is every action, the type "all" every type;
//   - a scope without an id covers every id of its type;
//   - a resource without an id is granted by a scope without one only.
//
// An id that is there but empty ("read:tags:") covers nothing: it comes from a
// template whose value was missing, and must not become a grant of everything.
func (s Scopes) Allow(action string, r Resource) bool {
	for _, text := range s {
		if text == "admin" {
			return true
		}
		granted, rest, typed := strings.Cut(text, ":")
		kind, id, one := strings.Cut(rest, ":")
		switch {
		case !typed, granted != "*" && granted != action, kind != "all" && kind != r.Type:
		case !one, id != "" && id == r.ID:
			return true
		}
	}
	return false
}

// AllowAny reports whether the scopes grant the action on one of the resources.
func (s Scopes) AllowAny(action string, any ...Resource) bool {
	for _, r := range any {
		if s.Allow(action, r) {
			return true
		}
	}
	return false
}

// AllowEach reports whether the scopes grant the action on every one of the ids
// of a type; false without ids.
func (s Scopes) AllowEach(action, kind string, ids []string) bool {
	for _, id := range ids {
		if id == "" || !s.Allow(action, Resource{kind, id}) {
			return false
		}
	}
	return len(ids) > 0
}

// AllowSome reports whether the scopes grant the action on anything of a type, be
// it one thing only.
func (s Scopes) AllowSome(action, kind string) bool {
	for _, text := range s {
		granted, rest, typed := strings.Cut(text, ":")
		named, id, one := strings.Cut(rest, ":")
		if text == "admin" || typed && (granted == "*" || granted == action) && (named == "all" || named == kind) && (!one || id != "") {
			return true
		}
	}
	return false
}
