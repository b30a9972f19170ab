package claim

import (
	"fmt"
	"strings"
	"testing"
)

// A token is a credential.
func TestTokenIsNotPrinted(t *testing.T) {
	t.Parallel()
	token := NewToken()
	text := string(token.append(nil))
	for _, printed := range []string{fmt.Sprint(token), fmt.Sprintf("%v %+v", Op{Token: token}, &Op{Token: token})} {
		if strings.Contains(printed, text) || strings.Contains(printed, fmt.Sprint(token[0], token[1], token[2])) {
			t.Errorf("printed %q", printed)
		}
	}
	if token == NewToken() || token.IsZero() {
		t.Error("tokens repeat")
	}
}
