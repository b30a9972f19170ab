package packet

import (
	"context"
	"errors"
	"net/url"
	"path"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/e0ff5a15/mollifier/run"
)

// S3 has clients upload to and download from a storage that speaks S3. Its URLs are
// made without asking the storage, which decides about sizes, ages and room.
type S3 struct {
	client         *minio.Client
	bucket, prefix string
}

// ErrS3URL says how the address of an S3 storage is written; it never repeats one.
var ErrS3URL = errors.New("packet: must be s3://ACCESSKEY:SECRETKEY@HOST[:PORT]/BUCKET[/PREFIX][?region=REGION&tls=false&style=path|host], the keys percent-encoded")

// NewS3 reads the address of a storage: s3://access:secret@host/bucket/prefix, with
// region (default us-east-1), tls (default true) and style (path, host; by default
// what the host is known to take) as its query.
func NewS3(address string) (*S3, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.User == nil || u.Fragment != "" {
		return nil, ErrS3URL
	}
	secret, _ := u.User.Password()
	bucket, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if u.User.Username() == "" || secret == "" || bucket == "" || (prefix != "" && !ValidName(prefix)) {
		return nil, ErrS3URL
	}
	o := minio.Options{Creds: credentials.NewStaticV4(u.User.Username(), secret, ""), Secure: true, Region: "us-east-1"}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, ErrS3URL
	}
	for name, values := range q {
		switch value := values[0]; {
		case name == "region" && value != "":
			o.Region = value
		case name == "tls" && (value == "true" || value == "false"):
			o.Secure = value == "true"
		case name == "style" && value == "path":
			o.BucketLookup = minio.BucketLookupPath
		case name == "style" && value == "host":
			o.BucketLookup = minio.BucketLookupDNS
		default:
			return nil, ErrS3URL
		}
	}
	client, err := minio.New(u.Host, &o)
	if err != nil {
		return nil, ErrS3URL
	}
	return &S3{client, bucket, prefix}, nil
}

// Upload returns a URL that takes the packet in one PUT. base is not used.
func (s *S3) Upload(ctx context.Context, _, environment, name string) (string, error) {
	if err := check(environment, name); err != nil {
		return "", err
	}
	u, err := s.client.PresignedPutObject(ctx, s.bucket, s.key(environment, name), UploadLife)
	return presigned(u, err)
}

// Download returns a URL that gives the packet to a GET, if the storage has it.
func (s *S3) Download(ctx context.Context, _, environment, name string) (string, error) {
	if err := check(environment, name); err != nil {
		return "", err
	}
	u, err := s.client.PresignedGetObject(ctx, s.bucket, s.key(environment, name), DownloadLife, nil)
	return presigned(u, err)
}

func (s *S3) key(environment, name string) string { return path.Join(s.prefix, environment, name) }

func presigned(u *url.URL, err error) (string, error) {
	if err != nil { // its text may name the host
		return "", &run.RefusedError{Reason: run.ErrUnavailable, Part: "packets", Err: errors.New("no URL could be signed")}
	}
	return u.String(), nil
}
