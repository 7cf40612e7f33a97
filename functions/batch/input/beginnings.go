package input

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"sluice.dev/sluice/functions/batch/task"
)

// byteOrder is what a file of UTF-8 may begin with.
var byteOrder = []byte("\xef\xbb\xbf")

const (
	convert    = "lines are read as UTF-8; convert it"
	decompress = "lines are read as they are stored; decompress it"
	export     = "lines are requests in JSON; export it as those"
)

// beginnings are those of what isn't read as lines, of which each would fail by itself: what
// it is, and what is to be done.
var beginnings = []struct{ bytes, is, remedy string }{
	{"\xff\xfe\x00\x00", "UTF-32", convert},
	{"\x00\x00\xfe\xff", "UTF-32", convert},
	{"\xff\xfe", "UTF-16", convert},
	{"\xfe\xff", "UTF-16", convert},
	{"\x1f\x8b", "compressed with gzip", decompress},
	{"\x28\xb5\x2f\xfd", "compressed with zstd", decompress},
	{"\x04\x22\x4d\x18", "compressed with lz4", decompress},
	{"\xfd7zXZ\x00", "compressed with xz", decompress},
	{"BZh", "compressed with bzip2", decompress},
	{"\xff\x06\x00\x00sNaPpY", "compressed with snappy", decompress},
	{"PK\x03\x04", "a zip archive", "lines are read as they are stored; unpack it"},
	{"PAR1", "a Parquet file", export},
	{"Obj\x01", "an Avro file", export},
	{"ARROW1", "an Arrow file", export},
}

// longestBeginning is how many bytes tell.
const longestBeginning = 10

// recognize is an error where an object is, by its first bytes, something else than lines.
func recognize(object string, from *bufio.Reader) error {
	first, err := from.Peek(longestBeginning)
	if err != nil && !errors.Is(err, io.EOF) {
		return blame(err)
	}
	for _, known := range beginnings {
		if bytes.HasPrefix(first, []byte(known.bytes)) {
			return unreadable(object, known.is, known.remedy)
		}
	}
	// JSON begins with a character of ASCII, which has a NUL beside it in encodings without a mark.
	if bytes.IndexByte(first[:min(2, len(first))], 0) >= 0 {
		return unreadable(object, "binary, or UTF-16 or UTF-32: there is a NUL among its first bytes", convert)
	}
	return nil
}

func unreadable(object, is, remedy string) error {
	return task.Final(task.InputUnreadable, fmt.Errorf("%s is %s; %s", object, is, remedy))
}
