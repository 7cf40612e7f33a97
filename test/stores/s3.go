package stores

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// broughtUpWithin bounds the wait for a store that is started, and built where it never
	// was.
	broughtUpWithin = 20 * time.Minute
	// answersWithin bounds the wait for an answer that says that a store is there.
	answersWithin = 5 * time.Second
	// putWithin bounds one request of a test's own.
	putWithin = time.Minute
)

// S3 is an S3-compatible store that this machine and the cluster's pods reach.
type S3 struct {
	// Endpoint is its URL; buckets are the first part of the path.
	Endpoint string
	// AccessKey and SecretKey may do anything there.
	AccessKey, SecretKey string

	client *s3.Client
}

// starting lets one of a process's tests at a time have a store brought up.
var starting sync.Mutex

// FindS3 returns the store that the environment names. Where it doesn't answer it is brought
// up by name, if the environment says by whom.
func FindS3(ctx context.Context) (*S3, error) {
	s := S3At(os.Getenv("SLUICE_S3_ENDPOINT"), os.Getenv("SLUICE_S3_ACCESS_KEY"), os.Getenv("SLUICE_S3_SECRET_KEY"))
	if s.Endpoint == "" || s.AccessKey == "" || s.SecretKey == "" {
		return nil, errors.New("SLUICE_S3_ENDPOINT, SLUICE_S3_ACCESS_KEY and SLUICE_S3_SECRET_KEY name a store for tests, and aren't all set: " +
			"the local stack sets them (hack/cluster/cluster env); on a cluster of your own name one that its pods reach")
	}
	return s, reach(ctx, "store", "versitygw", s.answers)
}

// reach asks what the environment names. Where that doesn't answer it is brought up by its name
// in the local stack, if the environment says by whom, and asked again.
func reach(ctx context.Context, what, name string, ask func(context.Context) error) error {
	starting.Lock()
	defer starting.Unlock()
	away := ask(ctx)
	if away == nil {
		return nil
	}
	cluster := os.Getenv("SLUICE_CLUSTER")
	if cluster == "" {
		return fmt.Errorf("the %s for tests doesn't answer, and SLUICE_CLUSTER names nothing that could bring it up: %w", what, away)
	}
	if err := bringUp(ctx, cluster, name); err != nil {
		return err
	}
	return ask(ctx)
}

// S3At is a store of which it is known where it is.
func S3At(endpoint, accessKey, secretKey string) *S3 {
	return &S3{Endpoint: endpoint, AccessKey: accessKey, SecretKey: secretKey, client: s3.New(s3.Options{
		BaseEndpoint: aws.String(endpoint), UsePathStyle: true, Region: "us-east-1",
		Credentials:                credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})}
}

// bringUp has the local stack start a store.
func bringUp(ctx context.Context, cluster, store string) error {
	ctx, cancel := context.WithTimeout(ctx, broughtUpWithin)
	defer cancel()
	said, err := exec.CommandContext(ctx, cluster, "up", store).CombinedOutput() //nolint:gosec // who runs the tests names it
	if err != nil {
		return fmt.Errorf("bringing up %s: %w: %s", store, err, said)
	}
	return nil
}

// answers is nil once a server of HTTP is there, whatever it thinks of who asks.
func (s *S3) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answersWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint, nil)
	if err != nil {
		return fmt.Errorf("SLUICE_S3_ENDPOINT: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking %s: %w", s.Endpoint, err)
	}
	return answer.Body.Close()
}

// Make makes a bucket.
func (s *S3) Make(ctx context.Context, bucket string) error {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	if _, err := s.client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		return fmt.Errorf("making bucket %s: %w", bucket, err)
	}
	return nil
}

// Ensure makes a bucket unless it is there, and ours.
func (s *S3) Ensure(ctx context.Context, bucket string) error {
	err := s.Make(ctx, bucket)
	if _, there := errors.AsType[*types.BucketAlreadyOwnedByYou](err); there {
		return nil
	}
	return err
}

// Put puts an object.
func (s *S3) Put(ctx context.Context, bucket, key, content string) error {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	if _, err := s.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(content)}); err != nil {
		return fmt.Errorf("putting %s: %w", key, err)
	}
	return nil
}

// Objects returns the contents of a bucket's objects whose keys begin with a prefix, by
// their keys.
func (s *S3) Objects(ctx context.Context, bucket, prefix string) (map[string][]byte, error) {
	objects := map[string][]byte{}
	return objects, s.Each(ctx, bucket, prefix, func(key string, content []byte) error {
		objects[key] = content
		return nil
	})
}

// Each calls see with each of a bucket's objects whose keys begin with a prefix, one at a
// time, in the order of their keys. It ends with the first error.
func (s *S3) Each(ctx context.Context, bucket, prefix string, see func(key string, content []byte) error) error {
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := s.next(ctx, pages)
		if err != nil {
			return fmt.Errorf("listing bucket %s: %w", bucket, err)
		}
		for _, object := range page.Contents {
			content, err := s.get(ctx, bucket, *object.Key)
			if err != nil {
				return err
			}
			if err := see(*object.Key, content); err != nil {
				return fmt.Errorf("%s: %w", *object.Key, err)
			}
		}
	}
	return nil
}

func (s *S3) next(ctx context.Context, pages *s3.ListObjectsV2Paginator) (*s3.ListObjectsV2Output, error) {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	return pages.NextPage(ctx)
}

func (s *S3) get(ctx context.Context, bucket, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	object, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, fmt.Errorf("getting %s: %w", key, err)
	}
	defer object.Body.Close()
	content, err := io.ReadAll(object.Body)
	if err != nil {
		return nil, fmt.Errorf("getting %s: %w", key, err)
	}
	return content, nil
}

// Remove removes a bucket and what is in it.
func (s *S3) Remove(ctx context.Context, bucket string) error {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("listing bucket %s: %w", bucket, err)
		}
		for _, object := range page.Contents {
			if _, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: object.Key}); err != nil {
				return fmt.Errorf("removing %s: %w", *object.Key, err)
			}
		}
	}
	if _, err := s.client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket}); err != nil {
		return fmt.Errorf("removing bucket %s: %w", bucket, err)
	}
	return nil
}

// Discard removes a bucket and what is in it, if it is there.
func (s *S3) Discard(ctx context.Context, bucket string) error {
	var none *types.NoSuchBucket
	if err := s.Remove(ctx, bucket); err != nil && !errors.As(err, &none) {
		return err
	}
	return nil
}
