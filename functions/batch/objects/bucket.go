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
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"

	"sluice.dev/sluice/functions/batch/task"
)

const (
	// pageSize is how many objects are listed at a time.
	pageSize = 1000
	// piecesAtOnce are held of an object that is put in several: 8 MiB each, as the SDK has it.
	piecesAtOnce = 2
)

// Bucket is a Store of gocloud.dev/blob.
type Bucket struct {
	blobs *blob.Bucket
	// Each may have been allowed by itself: keys that may read needn't be those that may write.
	lists, opens, creates permission
}

// permission is whether something was allowed once. What is refused from the beginning is so
// for good, and what is refused later on may be allowed again.
type permission struct{ given atomic.Bool }

// judge takes in what came of a call, and tells a refusal that comes after what was allowed.
func (p *permission) judge(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrExists):
		p.given.Store(true)
	case errors.Is(err, ErrRefused) && p.given.Load():
		return &lapsedError{err}
	}
	return err
}

// NewBucket returns a Bucket. Its driver must heed WriterOptions.IfNotExist whoever else
// writes, as s3blob and memblob do and fileblob doesn't.
func NewBucket(blobs *blob.Bucket) *Bucket { return &Bucket{blobs: blobs} }

// OpenS3 opens a bucket. Nothing is asked of it yet.
func OpenS3(ctx context.Context, at *task.S3) (*Bucket, error) { return openS3(ctx, at, rereadAfter) }

func openS3(ctx context.Context, at *task.S3, reread time.Duration) (*Bucket, error) {
	calls := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.ResponseHeaderTimeout = stall })
	// Other stores than Amazon's take any region, but one has to be named.
	options := []func(*config.LoadOptions) error{config.WithDefaultRegion("us-east-1"), config.WithHTTPClient(calls)}
	if at.Region != "" {
		options = append(options, config.WithRegion(at.Region))
	}
	if at.Credentials != "" {
		keys := mounted{at.Credentials, reread}
		if _, err := keys.Retrieve(ctx); err != nil {
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

// rereadAfter is how long keys are used before they are read again: a mounted Secret follows a
// changed one about as fast.
const rereadAfter = time.Minute

// mounted are the keys of a mounted Secret, which may be replaced while a run lasts.
type mounted struct {
	folder string
	reread time.Duration
}

// Retrieve reads them as they are now.
func (m mounted) Retrieve(context.Context) (aws.Credentials, error) {
	var values [2]string
	for i, name := range []string{task.AccessKeyFile, task.SecretKeyFile} {
		content, err := os.ReadFile(filepath.Join(m.folder, name)) //nolint:gosec // the folder is the reconciler's word
		if err != nil {
			return aws.Credentials{}, fmt.Errorf("%w: the Secret has no %s: %w", ErrRefused, name, err)
		}
		values[i] = strings.TrimSpace(string(content))
		if values[i] == "" || strings.ContainsFunc(values[i], func(r rune) bool { return r <= ' ' || r > '~' }) {
			return aws.Credentials{}, fmt.Errorf("%w: the Secret's %s has to be one word of ASCII, is of %d bytes", ErrRefused, name, len(content))
		}
	}
	return aws.Credentials{
		AccessKeyID: values[0], SecretAccessKey: values[1], Source: "Secret", CanExpire: true, Expires: time.Now().Add(m.reread),
	}, nil
}

// List yields objects in the order of their keys.
func (b *Bucket) List(ctx context.Context, prefix, from string) iter.Seq2[Object, error] {
	options := &blob.ListOptions{Prefix: prefix, BeforeList: startBefore(from)}
	return func(yield func(Object, error) bool) {
		for token := blob.FirstPageToken; len(token) > 0; {
			page, next, err := b.blobs.ListPage(ctx, token, pageSize, options)
			if err := b.lists.judge(told(err)); err != nil {
				yield(Object{}, fmt.Errorf("listing objects: %w", err))
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
	if pastEnd(err) {
		return http.NoBody, nil
	}
	if err := b.opens.judge(told(err)); err != nil {
		return nil, fmt.Errorf("opening %s: %w", key, err)
	}
	return content, nil
}

// Create puts an object. What is broken off leaves none.
func (b *Bucket) Create(ctx context.Context, key string, content io.Reader) error {
	err := b.creates.judge(b.put(ctx, key, content))
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
	writer, err := b.blobs.NewWriter(ctx, key, &blob.WriterOptions{
		ContentType: "application/jsonl", IfNotExist: true, MaxConcurrency: piecesAtOnce,
	})
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

// passing are refusals of how a call was made, of which the next one may be free: stores give them
// statuses by which they would be for good.
var passing = []string{"RequestTimeout", "RequestTimeTooSkewed", "ExpiredToken", "TokenRefreshRequired", "SlowDown"}

func passes(err error) bool {
	var own coded
	return errors.As(err, &own) && slices.Contains(passing, own.ErrorCode())
}

func pastEnd(err error) bool { return statusOf(err) == http.StatusRequestedRangeNotSatisfiable }

// told adds to what a store said what that means to all of them.
func told(err error) error {
	if err == nil {
		return nil
	}
	err = inItsWords(err)
	if passes(err) {
		return err
	}
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
