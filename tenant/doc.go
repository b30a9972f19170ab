// Package tenant knows who may trigger: organisations, their environments, and
// the API keys that open an environment.
//
// It owns the tables organisations, environments, api_keys and tenant_version,
// and two views of them. [Directory] is the reading side, one for each node:
// the tables whole in memory, so that authenticating a request asks no store.
// [Admin] is the writing side, for an operator and for the first start.
//
// The Directory promises:
//   - A change is seen as soon as Postgres announces it, and within one poll
//     (5 s) when the announcement is lost.
//   - While Postgres is down the last good state goes on answering: known keys
//     stay known. A key that is not known may have been made meanwhile, so it
//     is then refused as unavailable. It is called unknown only on an answer of
//     Postgres: at most 5 s old for this key, or 1 s for any.
//   - A flood of made-up keys costs Postgres at most one short query a second.
//   - A key ends at its time by the node's clock, Postgres up or down.
//
// It refuses to hold a key in the clear where it rests: Postgres has the
// SHA-256 of each key, and of root keys also the key itself, sealed with
// AES-256-GCM under a secret key that is never in Postgres. Root keys must be
// recoverable because clients sign public tokens with them.
//
// Ids are minted here: organisations are "org_", environments "env_", each
// followed by 20 random characters of lower-case base 32. Ids never change and
// are what the other packages mean by organisation and environment; names are
// for people, and unique: an organisation's among all, an environment's within
// its organisation.
package tenant
