package v1alpha1

import (
	"path"
	"strings"

	"knative.dev/pkg/apis"
)

// validateItems checks the format against the input: some inputs are one document.
func (s *BatchSpec) validateItems() *apis.FieldError {
	if s.Format.Type != FormatObjects {
		return nil
	}
	const remedy = "it takes each object of a prefix, file of a folder or record of a topic for an item; choose %s or %s"
	switch {
	case s.Input.S3 != nil && s.Input.S3.Key != "":
		return invalid("format.type", "is %s, and input.s3.key names one object: set input.s3.prefix to read several, or choose %s or %s", FormatObjects, FormatLines, FormatRows)
	case s.Input.HTTP != nil:
		return invalid("format.type", "is %s, and what is at each of input.http.urls is one document: "+remedy, FormatObjects, FormatLines, FormatRows)
	case s.Input.ConfigMap != nil:
		return invalid("format.type", "is %s, and input.configMap.key is one document: "+remedy, FormatObjects, FormatLines, FormatRows)
	case s.Input.Volume != nil && s.Input.Volume.File != "":
		return invalid("format.type", "is %s, and input.volume.file names one file: set input.volume.folder to read several, or choose %s or %s", FormatObjects, FormatLines, FormatRows)
	}
	return nil
}

// validateApart keeps the output out of what is read, and what is read out of the output.
func (s *BatchSpec) validateApart() *apis.FieldError {
	const remedy = "choose one beside it"
	in, out := s.Input, s.Output
	switch {
	case in.S3 != nil && out.S3 != nil && in.S3.sameBucket(&out.S3.BatchS3Bucket):
		folder := out.S3.folder()
		if in.S3.Prefix != "" && (strings.HasPrefix(folder, in.S3.Prefix) || strings.HasPrefix(in.S3.Prefix, folder)) {
			return invalid("output.s3.prefix", "%q and input.s3.prefix, which is %q, are one within the other, so that answers would be taken for items; "+remedy, out.S3.Prefix, in.S3.Prefix)
		}
		if in.S3.Key != "" && strings.HasPrefix(in.S3.Key, folder) {
			return invalid("output.s3.prefix", "%q holds the input, which is %q, and has to be empty before the run; "+remedy, out.S3.Prefix, in.S3.Key)
		}
	case in.Volume != nil && out.Volume != nil && in.Volume.ClaimName == out.Volume.ClaimName:
		to := inFolder(out.Volume.Folder)
		if from := inFolder(in.Volume.Folder); in.Volume.Folder != "" && (strings.HasPrefix(from, to) || strings.HasPrefix(to, from)) {
			return invalid("output.volume.folder", "%q and input.volume.folder, which is %q, are one within the other, so that answers would be taken for items; "+remedy, out.Volume.Folder, in.Volume.Folder)
		}
		if strings.HasPrefix(in.Volume.File, to) {
			return invalid("output.volume.folder", "%q holds the input, which is %q, and has to be empty before the run; "+remedy, out.Volume.Folder, in.Volume.File)
		}
	case in.Kafka != nil && out.Kafka != nil:
		return in.Kafka.validateApart(out.Kafka)
	}
	return nil
}

// SameOutput tells whether two Batches of one namespace write to the same place. A topic is none:
// its records say which Batch they are of.
func (b *Batch) SameOutput(other *Batch) bool {
	mine, theirs := b.Spec.Output, other.Spec.Output
	switch {
	case mine.S3 != nil && theirs.S3 != nil:
		return mine.S3.sameBucket(&theirs.S3.BatchS3Bucket) && mine.S3.folder() == theirs.S3.folder()
	case mine.Volume != nil && theirs.Volume != nil:
		return mine.Volume.ClaimName == theirs.Volume.ClaimName && inFolder(mine.Volume.Folder) == inFolder(theirs.Volume.Folder)
	}
	return false
}

// Reads tells whether what a Batch reads is of what another of its namespace writes.
func (b *Batch) Reads(other *Batch) bool {
	return (&BatchSpec{Input: b.Spec.Input, Output: other.Spec.Output}).validateApart() != nil
}

func (b *BatchS3Bucket) sameBucket(other *BatchS3Bucket) bool {
	return b.Bucket == other.Bucket && strings.TrimRight(b.Endpoint, "/") == strings.TrimRight(other.Endpoint, "/")
}

// folder is what the keys of all objects of an output begin with.
func (s *BatchS3Output) folder() string { return inFolder(s.Prefix) }

func inFolder(of string) string {
	if clean := path.Clean(of); clean != "." {
		return clean + "/"
	}
	return ""
}
