package packet_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"

	"github.com/e0ff5a15/mollifier/packet"
)

// The example that AWS publishes for signatures in a query: a known key, time and
// object, and the signature that they must give; and our URLs at that moment.
func TestS3URLs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		at := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
		<-time.After(time.Until(at))
		s, err := packet.NewS3("s3://AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI%2FK7MDENG%2FbPxRfiCYEXAMPLEKEY@s3.amazonaws.com/examplebucket/some/prefix?style=host")
		if err != nil {
			t.Fatal(err)
		}
		const published = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
		example, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://examplebucket.s3.amazonaws.com/test.txt", nil)
		if err != nil {
			t.Fatal(err)
		}
		signed := signer.PreSignV4(*example, "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "", "us-east-1", 86400)
		if !strings.HasSuffix(signed.URL.String(), "&X-Amz-Signature="+published) {
			t.Errorf("%s", signed.URL)
		}
		get, err := s.Download(t.Context(), "", "env_1", name)
		if err != nil {
			t.Fatal(err)
		}
		put, err := s.Upload(t.Context(), "", "env_1", name)
		if err != nil {
			t.Fatal(err)
		}
		for text, expires := range map[string]string{get: "3600", put: "900"} {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			for field, want := range map[string]string{
				"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request",
				"X-Amz-Date": "20130524T000000Z", "X-Amz-Expires": expires, "X-Amz-SignedHeaders": "host",
			} {
				if q.Get(field) != want {
					t.Errorf("%s is %q, not %q", field, q.Get(field), want)
				}
			}
			if u.Scheme != "https" || !strings.HasPrefix(u.Host, "examplebucket.s3.") || !strings.HasSuffix(u.Host, ".amazonaws.com") || u.Path != "/some/prefix/env_1/"+name {
				t.Errorf("URL %s", text)
			}
		}
		if get == put || strings.Contains(get+put, "wJalr") {
			t.Error("one URL for both, or one with the secret in it")
		}
	})
}

func TestS3Addresses(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"s3://a:b@localhost:9000/bucket?tls=false", "s3://a:b@host/bucket/pre/fix?region=eu-west-1&style=path"} {
		if _, err := packet.NewS3(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "s3://", "s3://host/bucket", "s3://a@host/bucket", "s3://a:b@host", "s3://a:b@host/", "http://a:b@host/bucket", "s3://a:b@host/bucket?tls=no",
		"s3://a:b@host/bucket?other=1", "s3://a:b@host/bucket/../x", "s3://a:b@host/bucket?style=x", "s3://a:canary@ho st/b", "s3://a:b@host/bucket?%zz",
	} {
		if _, err := packet.NewS3(bad); !errors.Is(err, packet.ErrS3URL) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
