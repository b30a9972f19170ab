// Package httpapi is the wire: it turns HTTP requests into triggers and reads
// of an engine, and their results into the answers that clients of the task
// trigger API expect.
//
// It owns the routes, the order in which a request is checked, the JSON forms,
// the error answers and the tokens in them. It knows nothing of stores: the
// engine, the credentials and the readiness of the node come in as small
// interfaces.
//
// # Order of checks
//
// A request is refused by the first of these that fails: method, credential,
// content length, content coding, path, headers, JSON of the body, schema of the body. A
// refusal that is decided before the body was read first reads a bounded part
// of it, because a client that is still sending would otherwise see a reset
// connection instead of the answer.
//
// # Promises
//
// A null is never written where a field may be absent; nulls appear only
// inside what the customer sent (payload, output, metadata). Those bytes are
// never parsed into Go numbers: 2^53+1 and 1e400 come back as they were sent.
// No answer and no log line holds a credential, a payload, a host name or the
// text of a store's error. Every error answer is one JSON object that has both
// "error", the text that clients show, and the members of an RFC 9457 problem.
//
// # Refusals
//
// No cross-origin access, no compression, no redirects: a path that is not a
// route as it stands is 404. Profiling lives on the admin handler only, which
// has no authentication and belongs on a loopback address.
package httpapi
