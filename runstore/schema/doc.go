// Package schema holds the Postgres schema of Mollifier as ordered, embedded
// migrations, and applies them.
//
// It promises that any number of nodes may call [Migrate] at the same moment
// on one database: one of them applies what is missing, under a session-wide
// advisory lock, and the others wait and then find nothing to do. It never
// goes backwards, and it refuses nothing that a later build has added: a
// database that is ahead of this build is left as it is.
//
// Migration files are named by number and subject. A file that has been
// released is never edited again; a change is a new file.
package schema
