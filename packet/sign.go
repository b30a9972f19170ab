package packet

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"strconv"
	"time"
)

// How long a URL is good for.
const (
	UploadLife   = 15 * time.Minute
	DownloadLife = time.Hour
)

// Method is what a signed URL is for.
type Method string

// The methods.
const (
	Put Method = "PUT"
	Get Method = "GET"
)

// signer makes URLs that this deployment's nodes serve, and knows its own.
type signer struct{ key []byte }

func newSigner(secret []byte) (signer, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "mollifier packet urls v1", sha256.Size)
	return signer{key}, err
}

// sum signs the length-prefixed parts, so that no two requests have one text.
func (s signer) sum(m Method, environment, name string, expires int64) []byte {
	h := hmac.New(sha256.New, s.key)
	for _, part := range []string{string(m), environment, name, strconv.FormatInt(expires, 10)} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	return h.Sum(nil)
}

func (s signer) url(base string, m Method, environment, name string, until time.Time) string {
	q := url.Values{
		"expires":   {strconv.FormatInt(until.Unix(), 10)},
		"signature": {base64.RawURLEncoding.EncodeToString(s.sum(m, environment, name, until.Unix()))},
	}
	return base + "/packets/" + environment + "/" + url.PathEscape(name) + "?" + q.Encode()
}

// good reports whether the query of a URL permits the method on the packet now.
func (s signer) good(m Method, environment, name string, q url.Values, now time.Time) bool {
	expires, err := strconv.ParseInt(q.Get("expires"), 10, 64)
	if err != nil || strconv.FormatInt(expires, 10) != q.Get("expires") || now.Unix() >= expires {
		return false
	}
	sent, err := base64.RawURLEncoding.Strict().DecodeString(q.Get("signature"))
	return err == nil && hmac.Equal(sent, s.sum(m, environment, name, expires))
}
