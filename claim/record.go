package claim

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// errUnreadable is what a record gives that this build does not know.
var errUnreadable = fmt.Errorf("claim: record of the key is of another form: %w", run.ErrUnknownVersion)

// appendResolved writes the record that names the holder of a key.
func appendResolved(b []byte, op *Op) []byte {
	b = append(b, "1|r|"...)
	b = append(b, op.Run.String()...)
	b = append(b, '|')
	b = strconv.AppendInt(b, int64(op.AcceptedAt), 10)
	b = append(b, '|')
	b = strconv.AppendInt(b, int64(op.Until), 10)
	b = append(b, '|')
	b = append(b, op.PayloadHash.String()...)
	b = append(b, '|')
	return append(b, op.RequestHash.String()...)
}

// parseResolved reads what appendResolved wrote. It is total: any other text
// gives ok false.
func parseResolved(text string) (r Reply, ok bool) {
	rest, ok := strings.CutPrefix(text, "1|r|")
	if !ok {
		return Reply{}, false
	}
	var fields [5]string
	for i := range 4 {
		if fields[i], rest, ok = strings.Cut(rest, "|"); !ok {
			return Reply{}, false
		}
	}
	fields[4] = rest

	r.State = Resolved
	id, err := run.ParseID(fields[0])
	if err != nil {
		return Reply{}, false
	}
	r.Run = id
	var good [4]bool
	r.AcceptedAt, good[0] = redisdb.ParseInstant(fields[1])
	r.Until, good[1] = redisdb.ParseInstant(fields[2])
	r.PayloadHash, good[2] = run.ParseDigest(fields[3])
	r.RequestHash, good[3] = run.ParseDigest(fields[4])
	if good != [4]bool{true, true, true, true} {
		return Reply{}, false
	}
	return r, true
}

// parseReply reads one element of a script's answer. It is total.
func parseReply(verb Verb, text string) Reply {
	if text == "" {
		return Reply{Err: errUnreadable}
	}
	switch kind := text[0]; {
	case verb != Claim && text == "d":
		return Reply{State: Done}
	case verb != Claim && text == "l":
		return Reply{State: Lost}
	case verb == Claim && kind == 'c':
		if at, ok := redisdb.ParseInstant(text[1:]); ok {
			return Reply{State: Claimed, AcceptedAt: at}
		}
	case verb == Claim && kind == 'w':
		if left, ok := redisdb.ParseInstant(text[1:]); ok {
			// redisdb.MaxInstant microseconds fit a Duration.
			return Reply{State: Pending, Wait: time.Duration(left) * time.Microsecond}
		}
	case verb == Claim && kind == '1':
		if r, ok := parseResolved(text); ok {
			return r
		}
	}
	return Reply{Err: errUnreadable}
}
