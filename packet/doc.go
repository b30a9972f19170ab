// Package packet keeps what is too large to travel inside a trigger: payloads and
// outputs that clients upload by themselves, to a URL that they were given, and
// then name by their storage path.
//
// It owns names, signed URLs, and two places to keep packets: [S3], any storage
// that speaks S3, and [Disk], a folder of this node. Nothing of a packet passes
// through memory whole, and no other package knows where one is.
//
// # What holds
//
// A packet belongs to one environment: every name is looked up under the
// environment that the credential, or the signed URL, names. A URL is for one
// method, one packet and a time; whoever has it needs nothing else, so it is
// neither logged nor stored. A packet appears whole or not at all, and an upload
// that was answered with success is on the disk: the file is synced, then named,
// then its folder is synced. An upload of the same name replaces the packet in one
// step; a client that repeats an upload whose answer it lost changes nothing.
//
// Crash between any two steps of an upload: before the rename there is a temporary
// file, which [Disk.Sweep] removes after an hour; after it the packet is there,
// and the client, unanswered, uploads again.
//
// # What does not
//
// A [Disk] is the disk of one node. Behind a balancer with several nodes an upload
// may reach a node that the trigger's worker never asks: share the folder between
// the nodes (a network file system that syncs), or use [S3]. Names of files are
// hashes, so that nothing of a name can lead out of the folder; their first line
// says what they are.
//
// Packets are kept for ever unless an age was configured: a run that waits has its
// payload there, and no age is known to be safe but by who chose it. The quota of
// an environment bounds what that can cost.
package packet
