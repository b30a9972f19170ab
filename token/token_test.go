package token_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/e0ff5a15/mollifier/token"
)

var (
	key = []byte("tr_prod_000000000000000000000000")
	now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
)

func TestSignAndVerify(t *testing.T) {
	t.Parallel()
	c := token.Claims{
		Environment: "env_1", Scopes: token.Scopes{"read:runs:run_1", "read:tags:a:b"}, OneTime: true,
		SkipColumns: []string{"payload"}, Expires: now.Add(time.Hour),
	}
	text, err := c.Sign(key, now)
	if err != nil {
		t.Fatal(err)
	}
	got, err := token.Verify(text, [][]byte{[]byte("another"), key}, now)
	if err != nil || !cmp.Equal(got, c, cmpopts.IgnoreUnexported(token.Claims{}), cmpopts.EquateApproxTime(0)) {
		t.Errorf("%+v, %v", got, err)
	}
	if got.Hash() == c.Hash() || !token.Looks(text) || token.Looks(string(key)) {
		t.Error("hash or look")
	}
	if sub, err := token.Subject(text); err != nil || sub != "env_1" {
		t.Errorf("subject %q, %v", sub, err)
	}
	if _, err := token.Verify(text, [][]byte{[]byte("another"), nil}, now); !errors.Is(err, token.ErrSignature) || !errors.Is(err, token.ErrInvalid) {
		t.Errorf("another key: %v", err)
	}
	if _, err := token.Verify(text, nil, now); !errors.Is(err, token.ErrSignature) {
		t.Errorf("no key: %v", err)
	}
	if again, err := c.Sign(key, now); err != nil || again == text {
		t.Errorf("two one-time tokens of one second are one: %v", err)
	}
	if _, err := c.Sign(nil, now); err == nil {
		t.Error("signed without a key")
	}
	for at, valid := range map[time.Duration]bool{
		time.Hour - time.Second: true, time.Hour: false, time.Hour + time.Second: false, -time.Hour: true,
	} {
		if _, err := token.Verify(text, [][]byte{key}, now.Add(at)); (err == nil) != valid {
			t.Errorf("%v later: %v", at, err)
		}
	}
}

// Tokens as customers' clients make them, each wrong in one way.
func TestRefused(t *testing.T) {
	t.Parallel()
	good := func() jwt.MapClaims {
		return jwt.MapClaims{
			"sub": "env_1", "pub": true, "scopes": []string{"read:runs"},
			"iss": "https://id.trigger.dev", "aud": "https://api.trigger.dev", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		}
	}
	sign := func(m jwt.SigningMethod, key any, change func(jwt.MapClaims)) string {
		claims := good()
		change(claims)
		text, err := jwt.NewWithClaims(m, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	none := func(jwt.MapClaims) {}
	valid := sign(jwt.SigningMethodHS256, key, none)
	if _, err := token.Verify(valid, [][]byte{key}, now); err != nil {
		t.Fatal(err)
	}
	set := func(name string, v any) string {
		return sign(jwt.SigningMethodHS256, key, func(c jwt.MapClaims) { c[name] = v })
	}
	unset := func(name string) string {
		return sign(jwt.SigningMethodHS256, key, func(c jwt.MapClaims) { delete(c, name) })
	}
	for name, text := range map[string]string{
		"no algorithm": sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, none),
		"HS512":        sign(jwt.SigningMethodHS512, key, none),
		"issuer":       set("iss", "https://id.example"), "no issuer": unset("iss"),
		"audience": set("aud", []string{"https://other"}), "no audience": unset("aud"),
		"no end": unset("exp"), "ended": set("exp", now.Add(-time.Minute).Unix()), "end of another type": set("exp", "tomorrow"),
		"not yet": set("nbf", now.Add(time.Hour).Unix()),
		"private": set("pub", false), "not public": unset("pub"), "public as text": set("pub", "true"),
		"no environment": unset("sub"), "empty environment": set("sub", ""),
		"scopes as text": set("scopes", "admin"), "once as text": set("otu", "yes"),
		"empty": "", "dots": "..", "two parts": valid[:strings.LastIndexByte(valid, '.')],
		"unsigned": valid[:strings.LastIndexByte(valid, '.')+1], "padded": valid + "=", "spaced": valid + " ",
	} {
		if _, err := token.Verify(text, [][]byte{key}, now); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c, err := token.Verify(set("aud", []string{"https://api.trigger.dev"}), [][]byte{key}, now); err != nil || c.OneTime {
		t.Errorf("an audience in a list: %v", err)
	}
}

// The last character of a signature has two bits that carry nothing: each of its
// spellings would be another token to who remembers texts.
func TestOneSpelling(t *testing.T) {
	t.Parallel()
	c := token.Claims{Environment: "env_1", Expires: now.Add(time.Hour)}
	text, err := c.Sign(key, now)
	if err != nil {
		t.Fatal(err)
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	valid := 0
	for _, last := range alphabet {
		if _, err := token.Verify(text[:len(text)-1]+string(last), [][]byte{key}, now); err == nil {
			valid++
		}
	}
	if valid != 1 {
		t.Errorf("%d spellings of one token are valid", valid)
	}
}

// No text makes the parser fail otherwise than by an error, no two texts are the
// same token, and nothing that this key did not sign is valid.
func FuzzVerify(f *testing.F) {
	c := token.Claims{Environment: "env_1", Scopes: token.Scopes{"read:runs"}, Expires: now.Add(time.Hour)}
	signed, err := c.Sign(key, now)
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{signed, "", "..", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", signed + ".", strings.ToUpper(signed)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := token.Verify(text, [][]byte{key}, now)
		if err != nil && !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%v", err)
		}
		if err == nil && (text != signed || got.Environment != "env_1" || !slices.Equal(got.Scopes, c.Scopes)) {
			t.Errorf("%q is valid", text)
		}
		if sub, err := token.Subject(text); err == nil && sub == "" {
			t.Error("an empty subject")
		}
	})
}
