// Package objects reads and writes objects: of an S3-compatible bucket, of a folder, and,
// to be read alone, of web servers. It says what became of it in a few words that all of
// them share, and tries again what may be over soon.
package objects
