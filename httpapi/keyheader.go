package httpapi

import (
	"errors"
	"strings"

	"github.com/dunglas/httpsfv"
)

var errKeyHeader = errors.New(`must be a key, or a structured string like "order-42"`)

// keyOfHeader reads an Idempotency-Key header. In the standard form it is a
// structured field (RFC 9651): a string in quotes, whose parameters mean nothing
// here. What does not begin with a quote is the key itself, as most clients send it.
// Both forms of one text are one key.
func keyOfHeader(text string) (string, error) {
	if !strings.HasPrefix(text, `"`) {
		return text, nil
	}
	item, err := httpsfv.UnmarshalItem([]string{text})
	if err != nil {
		return "", errKeyHeader
	}
	key, ok := item.Value.(string)
	if !ok || key == "" {
		return "", errKeyHeader
	}
	return key, nil
}
