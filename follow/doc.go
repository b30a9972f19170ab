// Package follow keeps a copy in memory up to date with what Postgres holds. It owns
// when one looks: when a change was announced, when somebody asks, and once in every
// poll. What is looked at, and what is done with it, is the caller's.
//
// Whoever changes what is followed counts a version up in the same transaction, and
// announces it with NOTIFY, which Postgres delivers if the transaction commits and
// not before. So there is nothing to see before an announcement, and nothing that an
// announcement does not stand for. What may be lost is the announcement: with the
// connection that listens, or while that is made again. A look follows each new
// connection, and the poll comes whatever the connection is doing; so a follower is
// behind by at most one poll for as long as Postgres answers, and while it does not,
// the last good copy stays.
//
// Looks are made one after the other, by one goroutine: the copy never goes back to
// an older version because two looks have overtaken each other.
package follow
