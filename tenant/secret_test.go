package tenant_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/tenant"
)

const canary = "tr_prod_canaryCanaryCanary000000"

// shown gives every form in which a value might reach a screen, a log or a file.
func shown(t *testing.T, v any) string {
	t.Helper()
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+"\n", v)
	}
	fmt.Fprintln(&out, v)
	if text, err := json.Marshal(v); err == nil {
		out.Write(text)
	}
	if text, err := xml.Marshal(v); err == nil {
		out.Write(text)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("text", "v", v)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "v", v)
	return out.String()
}

func TestSecretIsNeverShown(t *testing.T) {
	t.Parallel()
	secret := tenant.NewSecret(canary)
	type holder struct {
		Key    tenant.Secret
		hidden tenant.Secret // fmt does not ask methods of what it finds here
		List   []tenant.Secret
		Map    map[string]tenant.Secret
		Ptr    *tenant.Secret
	}
	config := tenant.Config{URL: "postgres://u:" + canary + "@h/d", SecretKey: secret}
	for name, v := range map[string]any{
		"value":          secret,
		"pointer":        &secret,
		"struct":         holder{secret, secret, []tenant.Secret{secret}, map[string]tenant.Secret{"k": secret}, &secret},
		"struct pointer": &holder{Key: secret, hidden: secret},
		"seeded":         []tenant.Seeded{{Key: secret}},
		"config":         config,
		"config pointer": &config,
	} {
		out := shown(t, v)
		if strings.Contains(out, canary) || strings.Contains(out, fmt.Sprintf("%x", canary)) || strings.Contains(out, fmt.Sprintf("%X", canary)) {
			t.Errorf("%s shows the secret: %s", name, out)
		}
	}
	if got := secret.Reveal(); got != canary {
		t.Errorf("Reveal gives %q", got)
	}
	if got := fmt.Sprintf("%v|%+v|%#v|%s", secret, secret, secret, secret); got != strings.Repeat("|[redacted]", 4)[1:] {
		t.Errorf("printed as %q", got)
	}
	text, err := json.Marshal(struct{ K tenant.Secret }{secret})
	if err != nil || string(text) != `{"K":"[redacted]"}` {
		t.Errorf("JSON %s, %v", text, err)
	}
	var zero tenant.Secret
	if !zero.IsZero() || zero.Reveal() != "" || secret.IsZero() {
		t.Error("the zero Secret must be empty")
	}
}
