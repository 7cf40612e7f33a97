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

// Listeners returns what tells the numbers (inodes), in order, of the sockets that listen
// at a port of this network namespace now.
//
// A model that ends takes its socket along, and its successor opens another: so the
// sockets' numbers tell one start of a model from the next, to whoever asks, without
// a connection. One held open would block a server that serves one connection at a
// time, and many close it when nothing is said.
func Listeners(port int) func() ([]uint64, error) {
	return func() ([]uint64, error) {
		if found, err := diagnose(port); err == nil {
			return found, nil
		}
		return tables{dir: "/proc/net", port: port}.sockets()
	}
}

// tables are the kernel's, in a directory: for sandboxes that can't be asked otherwise.
type tables struct {
	dir  string
	port int
}

func (t tables) sockets() ([]uint64, error) {
	var found []uint64
	for _, table := range []string{"tcp", "tcp6"} {
		file, err := os.Open(filepath.Join(t.dir, table)) //nolint:gosec // a table of the kernel's
		if os.IsNotExist(err) {
			continue // no IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("reading the kernel's sockets: %w", err)
		}
		found, err = t.read(file, found)
		_ = file.Close()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", table, err)
		}
	}
	slices.Sort(found)
	return found, nil
}

// read adds what a table has. The kernel lists those that listen before all others.
func (t tables) read(table io.Reader, found []uint64) ([]uint64, error) {
	lines := bufio.NewScanner(table)
	lines.Scan() // the heading
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != listening {
			break
		}
		_, port, _ := strings.Cut(fields[1], ":")
		if number, err := strconv.ParseUint(port, 16, 16); err != nil || int(number) != t.port {
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
