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
	return parseHolder(Resolved, strings.Split(rest, "|"))
}

// parseBound reads the record of a bound key with what the claim script says of
// the run's entry behind it. It is total.
func parseBound(text string) (r Reply, ok bool) {
	rest, ok := strings.CutPrefix(text, "1|b|")
	fields := strings.Split(rest, "|")
	if !ok || len(fields) != 7 || fields[5] == "" || (fields[6] != "q" && fields[6] != "l") {
		return Reply{}, false
	}
	r, ok = parseHolder(Bound, fields[:5])
	r.Queued = ok && fields[6] == "q"
	return r, ok
}

// parseHolder reads run, acceptance, end and the two digests.
func parseHolder(state State, fields []string) (Reply, bool) {
	if len(fields) != 5 {
		return Reply{}, false
	}
	r := Reply{State: state}
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
		if r, ok := parseBound(text); ok {
			return r
		}
	}
	return Reply{Err: errUnreadable}
}
