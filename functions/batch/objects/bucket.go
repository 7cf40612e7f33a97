package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"

	"sluice.dev/sluice/functions/batch/task"
)

// pageSize is how many objects are listed at a time.
const pageSize = 1000

// Bucket is a Store of gocloud.dev/blob.
type Bucket struct {
	blobs *blob.Bucket
}

// NewBucket returns a Bucket. Its driver must heed WriterOptions.IfNotExist whoever else
// writes, as s3blob and memblob do and fileblob doesn't.
func NewBucket(blobs *blob.Bucket) *Bucket { return &Bucket{blobs: blobs} }

// OpenS3 opens a bucket. Nothing is asked of it yet.
func OpenS3(ctx context.Context, at *task.S3) (*Bucket, error) {
	calls := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.ResponseHeaderTimeout = stall })
	// Other stores than Amazon's take any region, but one has to be named.
	options := []func(*config.LoadOptions) error{config.WithDefaultRegion("us-east-1"), config.WithHTTPClient(calls)}
	if at.Region != "" {
		options = append(options, config.WithRegion(at.Region))
	}
	if at.Credentials != "" {
		keys, err := staticKeys(at.Credentials)
		if err != nil {
			return nil, err
		}
		options = append(options, config.WithCredentialsProvider(keys))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("configuring the client of bucket %s: %w", at.Bucket, err)
	}
	if at.Credentials == "" {
		loaded.Credentials = aws.NewCredentialsCache(pods{loaded.Credentials})
	}
	client := s3.NewFromConfig(loaded, func(o *s3.Options) {
		// Others than Amazon's may know no names of hosts for buckets, and no checksums
		// that aren't asked for.
		if at.Endpoint != "" {
			o.BaseEndpoint = aws.String(at.Endpoint)
			o.UsePathStyle = true
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}
	})
	blobs, err := s3blob.OpenBucket(ctx, client, at.Bucket, &s3blob.Options{
		RequestChecksumCalculation: client.Options().RequestChecksumCalculation,
	})
	if err != nil {
		return nil, fmt.Errorf("opening bucket %s: %w", at.Bucket, err)
	}
	return NewBucket(blobs), nil
}

// pods are the credentials of the pod itself. Where it has none that is no fault of the store's,
// nor of whoever looks for them first, as the SDK has it.
type pods struct{ aws.CredentialsProvider }

func (p pods) Retrieve(ctx context.Context) (aws.Credentials, error) {
	found, err := p.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return found, fmt.Errorf("the pod has no credentials for the store; name a Secret that has some (secretName), or give the run's service account a role: %w", err)
	}
	return found, nil
}

// staticKeys reads a mounted Secret.
func staticKeys(folder string) (aws.CredentialsProvider, error) {
	var values [2]string
	for i, name := range []string{task.AccessKeyFile, task.SecretKeyFile} {
		content, err := os.ReadFile(filepath.Join(folder, name)) //nolint:gosec // the folder is the reconciler's word
		if err != nil {
			return nil, fmt.Errorf("%w: the Secret has no %s: %w", ErrRefused, name, err)
		}
		values[i] = strings.TrimSpace(string(content))
		if values[i] == "" || strings.ContainsFunc(values[i], func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, fmt.Errorf("%w: the Secret's %s has to be one word of ASCII, is of %d bytes", ErrRefused, name, len(content))
		}
	}
	return credentials.NewStaticCredentialsProvider(values[0], values[1], ""), nil
}

// List yields objects in the order of their keys.
func (b *Bucket) List(ctx context.Context, prefix, from string) iter.Seq2[Object, error] {
	options := &blob.ListOptions{Prefix: prefix, BeforeList: startBefore(from)}
	return func(yield func(Object, error) bool) {
		for token := blob.FirstPageToken; len(token) > 0; {
			page, next, err := b.blobs.ListPage(ctx, token, pageSize, options)
			if err != nil {
				yield(Object{}, fmt.Errorf("listing objects: %w", told(err)))
				return
			}
			for _, object := range page {
				if object.Key >= from && !yield(Object{Key: object.Key, Size: object.Size}, nil) {
					return
				}
			}
			token = next
		}
	}
}

// startBefore has S3 begin its listing at a key, so that a listing costs as much as what is
// asked for.
func startBefore(from string) func(func(any) bool) error {
	return func(as func(any) bool) error {
		var in *s3.ListObjectsV2Input
		if from != "" && as(&in) && in.ContinuationToken == nil {
			in.StartAfter = aws.String(before(from))
		}
		return nil
	}
}

// before is a name a little before a key: StartAfter leaves out what it names. The last
// character one less, and what names hardly end with.
func before(key string) string {
	rest, last := key[:len(key)-1], key[len(key)-1]
	if last > '!' && last <= '~' {
		return rest + string(last-1) + "~"
	}
	return strings.ToValidUTF8(rest, "")
}

// Open reads an object.
func (b *Bucket) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	content, err := b.blobs.NewRangeReader(ctx, key, offset, -1, nil)
	if err != nil {
		if pastEnd(err) {
			return http.NoBody, nil
		}
		return nil, fmt.Errorf("opening %s: %w", key, told(err))
	}
	return content, nil
}

// Create puts an object. What is broken off leaves none.
func (b *Bucket) Create(ctx context.Context, key string, content io.Reader) error {
	err := b.put(ctx, key, content)
	if err == nil || Settled(err) {
		return err
	}
	// A store may say that the object is there and end the connection while it is still sent
	// the content, and then nobody hears it.
	if there, unknown := b.blobs.Exists(ctx, key); unknown == nil && there {
		return fmt.Errorf("%w: %w", ErrExists, err)
	}
	return err
}

// put puts it, unless content breaks off: its context ends before the writer is closed.
func (b *Bucket) put(ctx context.Context, key string, content io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	writer, err := b.blobs.NewWriter(ctx, key, &blob.WriterOptions{ContentType: "application/jsonl", IfNotExist: true})
	if err != nil {
		return fmt.Errorf("putting %s: %w", key, told(err))
	}
	if _, err := io.Copy(writer, content); err != nil {
		cancel()
		_ = writer.Close() // says that it was broken off
		return fmt.Errorf("putting %s: %w", key, told(err))
	}
	if err := writer.Close(); err != nil {
		return fmt.Errorf("putting %s: %w", key, told(err))
	}
	return nil
}

// statused is an answer of HTTP, as the SDK has it in its errors.
type statused interface{ HTTPStatusCode() int }

func statusOf(err error) int {
	var answer statused
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}

// coded is an error of the store's own, as the SDK has it.
type coded interface {
	ErrorCode() string
	ErrorMessage() string
}

// answerError is an error in the store's words alone. What the SDK adds, the call's name and
// IDs of the request, is longer than what people are shown.
type answerError struct {
	words string
	err   error
}

func (a *answerError) Error() string { return a.words }

func (a *answerError) Unwrap() error { return a.err }

// inItsWords leaves of an error what the store said, where it said something.
func inItsWords(err error) error {
	var own coded
	if !errors.As(err, &own) || own.ErrorMessage() == "" {
		return err
	}
	words := fmt.Sprintf("the store answers %d, %s: %s", statusOf(err), own.ErrorCode(), strings.TrimSuffix(own.ErrorMessage(), "."))
	return &answerError{words: words, err: err}
}

// unknownKeys are what stores say of an access key that they don't know. Not all of them say
// 403: by its status alone, versitygw's would be that of a missing object.
var unknownKeys = []string{"InvalidAccessKeyId", "XAdminUserNotFound"}

func unknownKey(err error) bool {
	var own coded
	return errors.As(err, &own) && slices.Contains(unknownKeys, own.ErrorCode())
}

// fullUp are what stores say that have no more room for whoever asks. Not all of them say 507: by
// its status alone, a quota's would be that of keys that may not.
var fullUp = []string{"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}

func noRoom(err error) bool {
	var own coded
	return errors.As(err, &own) && slices.Contains(fullUp, own.ErrorCode())
}

func pastEnd(err error) bool { return statusOf(err) == http.StatusRequestedRangeNotSatisfiable }

// told adds to what a store said what that means to all of them.
func told(err error) error {
	err = inItsWords(err)
	if noRoom(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	switch gcerrors.Code(err) {
	case gcerrors.FailedPrecondition, gcerrors.AlreadyExists:
		return fmt.Errorf("%w: %w", ErrExists, err)
	case gcerrors.NotFound:
		return fmt.Errorf("%w: %w", ErrMissing, err)
	case gcerrors.PermissionDenied:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if unknownKey(err) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return refused(statusOf(err), err)
}

// refused adds what a status of HTTP says: that it is no use to ask again.
func refused(status int, err error) error {
	switch status {
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%w: %w", ErrMissing, err)
	case http.StatusInsufficientStorage:
		return fmt.Errorf("%w: %w", ErrFull, err)
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return err
	}
	if status >= 300 && status < 500 {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}
