// Package token is the public token: a signed statement that its bearer may do
// this and that in one environment for a while. Customers sign most of them on
// their own side, with their environment's root key, and give them to browsers.
//
// It owns the form of the token ([Verify], [Claims.Sign]) and what its scopes
// mean ([Scopes.Allow]). It knows no store and no request: keys and the clock
// come in.
//
// A token is a JSON Web Token, HS256 under the bytes of the root key. Everything
// that is not as it should be makes it invalid as a whole: another algorithm or
// issuer or audience, no end, no environment, a claim of another type, base64
// that is not the one canonical text of its bytes. The last matters for tokens
// that may be used once: a second spelling of the signature would be a second use.
package token
