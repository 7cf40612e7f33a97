package task

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	// MaxShards bounds the shards of a batch: each is a pod of its Job.
	MaxShards = 1000
	// maxConcurrency bounds a worker's requests in flight, each of which holds two bodies.
	maxConcurrency = 1024
	// maxRows bounds how many rows are gathered.
	maxRows = 10_000
	// maxBody bounds the bodies that a worker holds in memory.
	maxBody = 256 << 20
	// maxURLs bounds how many URLs an input has.
	maxURLs = 1000
)

// ours are the headers that a worker sets itself.
var ours = []string{"Connection", "Content-Length", "Host", KeyHeader, MarkHeader, "Transfer-Encoding"}

// problems are those of a Task, each with its field and its remedy.
type problems []error

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: "+format, append([]any{field}, args...)...))
}

// Validate says of each mistake where it is and what is right.
func (t *Task) Validate() error {
	var p problems
	for field, value := range map[string]string{"namespace": t.Namespace, "name": t.Name, "uid": t.UID} {
		if value == "" {
			p.add(field, "is missing; it is the batch's own")
		}
	}
	p.origin("model", t.Model)
	p.origin("credits", t.Credits)
	p.input(&t.Input)
	p.output(&t.Output)
	p.topics(t)
	if t.within() {
		p.add("output.prefix", "%q is within what is read, %q; results would be read as input", t.Output.Prefix, t.Input.Prefix)
	}
	p.format(t)
	p.request(&t.Request)
	p.retry(&t.Retry)
	p.bounds(&t.Bounds)
	if t.MaxFailedItems != nil && *t.MaxFailedItems < 0 {
		p.add("maxFailedItems", "%d is below 0; leave it out, so that any number may fail", *t.MaxFailedItems)
	}
	slices.SortFunc(p, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(p...)
}

// within tells whether the output would be part of the input.
func (t *Task) within() bool {
	in, out := t.Input.Store, t.Output.Store
	one := in.Volume != "" && in.Volume == out.Volume
	if in.S3 != nil && out.S3 != nil {
		one = in.S3.Endpoint == out.S3.Endpoint && in.S3.Bucket == out.S3.Bucket
	}
	return one && t.Input.Key == "" && strings.HasPrefix(t.Output.Prefix+"/", t.Input.Prefix)
}

// origin checks a URL of scheme and host alone.
func (p *problems) origin(field, value string) {
	u, err := url.Parse(value)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		p.add(field, "%q is no URL of scheme and host alone, such as http://ranker.team.svc.cluster.local", value)
	}
}

func (p *problems) output(out *Output) {
	if out.Kafka == nil {
		p.store("output", &out.Store)
		p.key("output.prefix", out.Prefix)
		return
	}
	if out.S3 != nil || out.Volume != "" || out.Prefix != "" {
		p.add("output", "has kafka and a store; one of both says where results go")
	}
	p.kafkaOutput("output.kafka", out.Kafka)
}

func (p *problems) input(in *Input) {
	if in.Kafka != nil {
		if in.S3 != nil || in.Volume != "" || in.Key != "" || in.Prefix != "" || len(in.URLs) > 0 {
			p.add("input", "has kafka and urls or a store; one of them says where the items are")
		}
		p.kafkaInput("input.kafka", in.Kafka)
		return
	}
	if len(in.URLs) > 0 {
		p.urls(in)
		return
	}
	p.store("input", &in.Store)
	if in.Key != "" && in.Prefix != "" {
		p.add("input", "has key and prefix; one of both says what is read")
	}
	p.key("input.key", in.Key)
	p.key("input.prefix", in.Prefix)
}

func (p *problems) urls(in *Input) {
	if in.S3 != nil || in.Volume != "" || in.Key != "" || in.Prefix != "" {
		p.add("input", "has urls and a store; one of both says where the items are")
	}
	if len(in.URLs) > maxURLs {
		p.add("input.urls", "has %d URLs, at most %d are read; put them into one store, under a prefix", len(in.URLs), maxURLs)
	}
	seen := map[string]bool{}
	for i, address := range in.URLs {
		field := fmt.Sprintf("input.urls[%d]", i)
		if u, err := url.Parse(address); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			p.add(field, "%q is no URL of http or https", address)
		}
		if seen[address] {
			p.add(field, "%q is there twice; each is read once", address)
		}
		seen[address] = true
	}
}

func (p *problems) store(field string, s *Store) {
	switch {
	case (s.S3 == nil) == (s.Volume == ""):
		p.add(field, "needs one of s3, volume, kafka")
	case s.S3 == nil:
		p.folder(field+".volume", s.Volume)
	default:
		if s.S3.Bucket == "" {
			p.add(field+".s3.bucket", "is missing; name the bucket")
		}
		if s.S3.Endpoint != "" {
			p.origin(field+".s3.endpoint", s.S3.Endpoint)
		}
		if s.S3.Credentials != "" {
			p.folder(field+".s3.credentials", s.S3.Credentials)
		}
	}
}

func (p *problems) folder(field, path string) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		p.add(field, "%q is no absolute path without . and ..", path)
	}
}

// key checks a name of an object, or the beginning of some: one that a folder can have.
func (p *problems) key(field, key string) {
	if strings.HasPrefix(key, "/") || slices.Contains(strings.Split(key, "/"), "..") {
		p.add(field, "%q begins with / or has .. in it; name it from the store's root", key)
	}
}

func (p *problems) format(t *Task) {
	switch t.Format {
	case Lines:
	case Rows:
		p.within("request.rows", int64(t.Request.Rows), maxRows)
		return
	case Objects:
		if len(t.Input.URLs) > 0 {
			p.add("format", "is Objects, which are a store's; the bodies of URLs are read by Lines or Rows")
		}
	default:
		p.add("format", "%q is none of Lines, Objects, Rows", t.Format)
	}
	if t.Request.Rows != 0 {
		p.add("request.rows", "is for format Rows alone; leave it out")
	}
}

func (p *problems) request(r *Request) {
	if u, err := url.ParseRequestURI(r.Path); err != nil || !strings.HasPrefix(r.Path, "/") || u.Host != "" {
		p.add("request.path", "%q is no path such as /v2/models/ranker/infer", r.Path)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		field := fmt.Sprintf("request.headers[%s]", name)
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(r.Headers[name]) {
			p.add(field, "is no header of HTTP")
		}
		if slices.ContainsFunc(ours, func(own string) bool { return strings.EqualFold(own, name) }) {
			p.add(field, "is set by the worker; leave it out")
		}
	}
	p.lasting("request.timeout", r.Timeout, time.Hour)
}

func (p *problems) retry(r *Retry) {
	p.within("retry.attempts", int64(r.Attempts), 100)
	p.lasting("retry.minBackoff", r.MinBackoff, time.Hour)
	p.lasting("retry.maxBackoff", r.MaxBackoff, time.Hour)
	p.lasting("retry.patience", r.Patience, 24*time.Hour)
	if r.MaxBackoff < r.MinBackoff {
		p.add("retry.maxBackoff", "is below retry.minBackoff; it is what that grows to")
	}
}

func (p *problems) bounds(b *Bounds) {
	p.within("bounds.partItems", b.PartItems, 1_000_000)
	p.within("bounds.partBytes", b.PartBytes, 1<<40)
	p.within("bounds.shards", int64(b.Shards), MaxShards)
	p.within("bounds.workers", int64(b.Workers), MaxShards)
	p.within("bounds.concurrency", int64(b.Concurrency), maxConcurrency)
	p.within("bounds.itemBytes", b.ItemBytes, maxBody)
	p.within("bounds.answerBytes", b.AnswerBytes, maxBody)
	p.within("bounds.heldBytes", b.HeldBytes, 1<<40)
	p.within("bounds.spoolBytes", b.SpoolBytes, 1<<40)
}

func (p *problems) within(field string, value, most int64) {
	if value < 1 || value > most {
		p.add(field, "%d isn't within 1 and %d", value, most)
	}
}

func (p *problems) lasting(field string, value Duration, most time.Duration) {
	if value <= 0 || time.Duration(value) > most {
		p.add(field, "%s isn't above 0 and at most %s", time.Duration(value), most)
	}
}
