package v1alpha1

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	validationutil "k8s.io/apimachinery/pkg/util/validation"
	"knative.dev/pkg/apis"
)

const (
	maxObjectKey = 1024
	// maxOutputPrefix leaves room for the names below it.
	maxOutputPrefix = 900
	maxVolumePath   = 1024
	maxURLs         = 1000
)

var (
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	regionName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
)

func (i *BatchInput) validate() *apis.FieldError {
	errs := exactlyOne("say where the items are", map[string]bool{
		"s3": i.S3 != nil, "http": i.HTTP != nil, "volume": i.Volume != nil, "configMap": i.ConfigMap != nil, "kafka": i.Kafka != nil,
	})
	if i.S3 != nil {
		errs = errs.Also(i.S3.validate().ViaField("s3"))
	}
	if i.HTTP != nil {
		errs = errs.Also(i.HTTP.validate().ViaField("http"))
	}
	if i.Volume != nil {
		errs = errs.Also(i.Volume.validate().ViaField("volume"))
	}
	if c := i.ConfigMap; c != nil {
		errs = errs.Also(c.validate().ViaField("configMap"))
	}
	if i.Kafka != nil {
		errs = errs.Also(i.Kafka.validate().ViaField("kafka"))
	}
	return errs
}

func (o *BatchOutput) validate() *apis.FieldError {
	errs := exactlyOne("say where the answers go", map[string]bool{"s3": o.S3 != nil, "volume": o.Volume != nil, "kafka": o.Kafka != nil})
	if o.S3 != nil {
		errs = errs.Also(o.S3.validate().ViaField("s3"))
	}
	if o.Volume != nil {
		errs = errs.Also(o.Volume.validate().ViaField("volume"))
	}
	if o.Kafka != nil {
		errs = errs.Also(o.Kafka.validate().ViaField("kafka"))
	}
	return errs
}

func exactlyOne(details string, fields map[string]bool) *apis.FieldError {
	var all, set []string
	for field, is := range fields {
		all = append(all, field)
		if is {
			set = append(set, field)
		}
	}
	slices.Sort(all)
	slices.Sort(set)
	var err *apis.FieldError
	switch len(set) {
	case 1:
		return nil
	case 0:
		err = apis.ErrMissingOneOf(all...)
	default:
		err = apis.ErrMultipleOneOf(set...)
	}
	err.Details = details
	return err
}

func (b *BatchS3Bucket) validate() *apis.FieldError {
	var errs *apis.FieldError
	rest, isURL := strings.CutPrefix(b.Bucket, "s3://")
	name, below, slashed := strings.Cut(rest, "/")
	switch {
	case b.Bucket == "":
		errs = apis.ErrMissingField("bucket")
	case slashed:
		errs = invalid("bucket", "%q is more than a bucket; give %q here, and %q as the key or the prefix", b.Bucket, name, below)
	case isURL:
		errs = invalid("bucket", "%q is a URL; give the name alone: %s", b.Bucket, name)
	case !bucketName.MatchString(b.Bucket):
		errs = invalid("bucket", "%q can't be the name of a bucket: 3 to 63 lower case letters, digits, dots and dashes", b.Bucket)
	}
	if b.Endpoint != "" {
		errs = errs.Also(validateURL("endpoint", b.Endpoint))
		if u, err := url.Parse(b.Endpoint); err == nil && u.Host != "" && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "") {
			errs = errs.Also(invalid("endpoint", "must be a URL without a path, as in %s://%s; what is behind it is the bucket and the key", u.Scheme, u.Host))
		}
	}
	if b.Region != "" && !regionName.MatchString(b.Region) {
		errs = errs.Also(invalid("region", "must be as in eu-west-1, is %q", b.Region))
	}
	return errs.Also(validateSecret(b.SecretName))
}

func validateSecret(name string) *apis.FieldError {
	if name == "" {
		return nil
	}
	return validateReference("secretName", "Secret", name)
}

// validateURL wants one of HTTP that holds no credentials: a Batch is read by more people
// than a Secret.
func validateURL(field, text string) *apis.FieldError {
	u, err := url.Parse(text)
	switch {
	case err == nil && u.User != nil:
		return invalid(field, "holds a password, which whoever may read the Batch can read; take it away")
	case !strings.Contains(text, "://"):
		return invalid(field, "must begin with https:// or http://, is %q", text)
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return invalid(field, "must be a URL as in https://store.example.com, is %q", text)
	case u.Fragment != "":
		return invalid(field, "must have no part behind #, is %q", text)
	}
	return nil
}

func (s *BatchS3Input) validate() *apis.FieldError {
	errs := s.BatchS3Bucket.validate().Also(exactlyOne("name one object, or what the keys of several begin with",
		map[string]bool{"key": s.Key != "", "prefix": s.Prefix != ""}))
	errs = errs.Also(validateKey("key", s.Key, maxObjectKey), validateKey("prefix", s.Prefix, maxObjectKey))
	if strings.HasSuffix(s.Key, "/") {
		errs = errs.Also(invalid("key", "%q is no object's; set prefix to read those below it", s.Key))
	}
	for field, value := range map[string]string{"key": s.Key, "prefix": s.Prefix} {
		if before, _, found := strings.Cut(value, "*"); found {
			errs = errs.Also(warning(fmt.Sprintf("a * is taken as it is written; all objects whose keys begin with %q are read by prefix: %s", before, before), field))
		}
	}
	return errs
}

func (s *BatchS3Output) validate() *apis.FieldError {
	errs := s.BatchS3Bucket.validate()
	if strings.Trim(s.Prefix, "/") == "" {
		missing := apis.ErrMissingField("prefix")
		missing.Details = "give the run's output a prefix of its own, as in runs/1"
		return errs.Also(missing)
	}
	return errs.Also(validateKey("prefix", s.Prefix, maxOutputPrefix))
}

func validateKey(field, key string, longest int) *apis.FieldError {
	switch rest, isURL := strings.CutPrefix(key, "s3://"); {
	case isURL:
		_, below, _ := strings.Cut(rest, "/")
		return invalid(field, "is what follows the bucket, and %q is a URL; give %q", key, below)
	case strings.HasPrefix(key, "/"):
		return invalid(field, "must not begin with /, is %q; give %q", key, strings.TrimLeft(key, "/"))
	case len(key) > longest:
		return invalid(field, "must be at most %d bytes long, has %d", longest, len(key))
	case strings.ContainsFunc(key, unicode.IsControl):
		return invalid(field, "must have no control characters, is %q", key)
	case slices.Contains(strings.Split(key, "/"), ".."), slices.Contains(strings.Split(key, "/"), "."):
		return invalid(field, "has a part that is only dots; write it as the store itself has it, which knows no folders")
	case strings.Contains(key, "//"):
		return invalid(field, "must have no empty part, is %q", key)
	}
	return nil
}

func (h *BatchHTTPInput) validate() *apis.FieldError {
	switch n := len(h.URLs); {
	case n == 0:
		return apis.ErrMissingField("urls")
	case n > maxURLs:
		return invalid("urls", "must be at most %d, are %d; put what is there into one store, under a prefix", maxURLs, n)
	}
	var errs *apis.FieldError
	for i, address := range h.URLs {
		errs = errs.Also(validateURL(apis.CurrentField, address).ViaFieldIndex("urls", i))
		if first := slices.Index(h.URLs, address); first < i {
			errs = errs.Also(invalid(apis.CurrentField, "%q is there twice, remove one of them", address).ViaFieldIndex("urls", i))
		}
	}
	return errs
}

func (v *BatchVolumeInput) validate() *apis.FieldError {
	errs := validateReference("claimName", "PersistentVolumeClaim", v.ClaimName).Also(exactlyOne("name one file, or the folder of several",
		map[string]bool{"file": v.File != "", "folder": v.Folder != ""}))
	return errs.Also(validatePath("file", v.File), validatePath("folder", v.Folder))
}

func (v *BatchVolumeOutput) validate() *apis.FieldError {
	errs := validateReference("claimName", "PersistentVolumeClaim", v.ClaimName)
	switch {
	case v.Folder == "":
		return errs.Also(apis.ErrMissingField("folder"))
	case path.Clean(v.Folder) == ".":
		return errs.Also(invalid("folder", "must be a folder of the run's own, as in runs/1, is the whole volume"))
	}
	return errs.Also(validatePath("folder", v.Folder))
}

func validatePath(field, of string) *apis.FieldError {
	clean := path.Clean(of)
	switch {
	case of == "":
		return nil
	case strings.HasPrefix(of, "/"):
		return invalid(field, "is within the volume and must not begin with /, is %q; give %q", of, strings.TrimLeft(of, "/"))
	case clean == ".." || strings.HasPrefix(clean, "../"):
		return invalid(field, "must stay within the volume; name a path below its root")
	case len(of) > maxVolumePath || strings.ContainsFunc(of, unicode.IsControl):
		return invalid(field, "must be at most %d bytes long, without control characters", maxVolumePath)
	case clean != strings.TrimSuffix(of, "/"):
		return invalid(field, "is %q; write it as %q", of, clean)
	}
	return nil
}

func (c *BatchConfigMapInput) validate() *apis.FieldError {
	errs := validateReference("name", "ConfigMap", c.Name)
	if c.Key == "" {
		return errs.Also(apis.ErrMissingField("key"))
	}
	for _, problem := range validationutil.IsConfigMapKey(c.Key) {
		errs = errs.Also(invalid("key", "%q can't be a key of a ConfigMap: %s", c.Key, problem))
	}
	return errs
}
