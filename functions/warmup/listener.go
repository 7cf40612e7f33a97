package warmup

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// listening is the state of a socket that takes connections, as the kernel prints it.
const listening = "0A"

// Listeners finds the sockets that take connections at a port of this network
// namespace, by the kernel's tables in a directory, which is /proc/net.
//
// A model that ends takes its socket along, and its successor opens another: so the
// sockets' numbers tell one start of a model from the next, to whoever asks, without
// a connection. One held open would block a server that serves one connection at a
// time, and many close it when nothing is said.
type Listeners struct {
	Tables string
	Port   int
}

// Sockets are the numbers (inodes) of the sockets that listen now, in order.
func (l Listeners) Sockets() ([]uint64, error) {
	var found []uint64
	for _, table := range []string{"tcp", "tcp6"} {
		file, err := os.Open(filepath.Join(l.Tables, table)) //nolint:gosec // a table of the kernel's
		if os.IsNotExist(err) {
			continue // no IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("reading the kernel's sockets: %w", err)
		}
		found, err = l.read(file, found)
		_ = file.Close()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", table, err)
		}
	}
	slices.Sort(found)
	return found, nil
}

// read adds what a table has. The kernel lists those that listen before all others.
func (l Listeners) read(table io.Reader, found []uint64) ([]uint64, error) {
	lines := bufio.NewScanner(table)
	lines.Scan() // the heading
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != listening {
			break
		}
		_, port, _ := strings.Cut(fields[1], ":")
		if number, err := strconv.ParseUint(port, 16, 16); err != nil || int(number) != l.Port {
			continue
		}
		inode, err := strconv.ParseUint(fields[9], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("a socket's number: %w", err)
		}
		found = append(found, inode)
	}
	return found, lines.Err()
}

// common tells whether one socket is in both. Servers with several processes have
// one each, and replace them one by one.
func common(a, b []uint64) bool {
	return slices.ContainsFunc(a, func(socket uint64) bool { return slices.Contains(b, socket) })
}
