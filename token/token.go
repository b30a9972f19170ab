package token

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// What clients and verifiers of public tokens expect to find in them.
const (
	issuer   = "https://id.trigger.dev"
	audience = "https://api.trigger.dev"
)

// ErrInvalid: the text is no public token, or one that has ended.
var ErrInvalid = errors.New("token: invalid public token")

// ErrSignature: the token is signed with none of the keys. It is an [ErrInvalid]
// too; with keys that are newer it may be valid.
var ErrSignature = &signatureError{}

type signatureError struct{}

func (*signatureError) Error() string { return "token: signed with another key" }
func (*signatureError) Unwrap() error { return ErrInvalid }

// Claims are what a token says.
type Claims struct {
	// Environment is the id of the environment that it belongs to.
	Environment string
	Scopes      Scopes
	// OneTime says that it triggers once. Readings are not counted.
	OneTime bool
	// SkipColumns are the columns that realtime answers leave out for the bearer.
	SkipColumns []string
	// Expires is its end, to the second.
	Expires time.Time

	hash [sha256.Size]byte
}

// Hash names the token: the SHA-256 of all that is signed in it. It is zero for
// claims that were not verified.
func (c *Claims) Hash() [sha256.Size]byte { return c.hash }

// wireClaims is the body of a token as it is read.
type wireClaims struct {
	jwt.RegisteredClaims
	Public   bool     `json:"pub"`
	Scopes   []string `json:"scopes"`
	OneTime  bool     `json:"otu"`
	Realtime realtime `json:"realtime"`
}

type realtime struct {
	SkipColumns []string `json:"skipColumns"`
}

// Looks reports whether a credential has the form of a signed token: no key has
// dots.
func Looks(credential string) bool { return strings.Count(credential, ".") == 2 }

// Subject returns the environment that the text claims to belong to, before
// anything of it is verified: it says whose keys to verify with.
func Subject(text string) (environment string, err error) {
	var claims wireClaims
	if _, _, err := parser(time.Time{}).ParseUnverified(text, &claims); err != nil || claims.Subject == "" {
		return "", ErrInvalid
	}
	return claims.Subject, nil
}

// Verify returns what a token says, if it is signed with one of the keys and
// holds at that time. The errors are [ErrSignature] and [ErrInvalid]; they never
// hold any of the text. Signatures are compared in constant time.
func Verify(text string, keys [][]byte, now time.Time) (Claims, error) {
	set := jwt.VerificationKeySet{}
	for _, key := range keys {
		if len(key) > 0 {
			set.Keys = append(set.Keys, key)
		}
	}
	if len(set.Keys) == 0 {
		return Claims{}, ErrSignature
	}
	var w wireClaims
	_, err := parser(now).ParseWithClaims(text, &w, func(*jwt.Token) (any, error) { return set, nil })
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return Claims{}, ErrSignature
	case err != nil, !w.Public, w.Subject == "":
		return Claims{}, ErrInvalid
	}
	return Claims{
		Environment: w.Subject, Scopes: w.Scopes, OneTime: w.OneTime, SkipColumns: w.Realtime.SkipColumns,
		Expires: w.ExpiresAt.Time, hash: sha256.Sum256([]byte(text[:strings.LastIndexByte(text, '.')])),
	}, nil
}

func parser(now time.Time) *jwt.Parser {
	return jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithStrictDecoding(),
		jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }),
	)
}

// Sign makes the token of the claims, issued at that time.
func (c *Claims) Sign(key []byte, now time.Time) (string, error) {
	if len(key) == 0 {
		return "", errors.New("token: no key to sign with")
	}
	claims := jwt.MapClaims{
		"sub": c.Environment, "pub": true, "iss": issuer, "aud": audience, "iat": now.Unix(), "exp": c.Expires.Unix(),
	}
	if c.Scopes != nil {
		claims["scopes"] = c.Scopes
	}
	if c.OneTime {
		// Two that are made in one second are two all the same.
		claims["otu"], claims["jti"] = true, rand.Text()
	}
	if c.SkipColumns != nil {
		claims["realtime"] = realtime{c.SkipColumns}
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(key)
}
