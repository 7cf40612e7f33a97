package warmup

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestSocketsOfThisHost(t *testing.T) {
	t.Parallel()
	listen := func(address string) (net.Listener, int) {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l, l.Addr().(*net.TCPAddr).Port
	}
	for _, address := range []string{"127.0.0.1:0", "[::]:0"} {
		first, port := listen(address)
		listeners := Listeners(port)
		before := sockets(t, listeners)
		if len(before) != 1 {
			t.Fatalf("%s: sockets %v, want one", address, before)
		}
		if table := sockets(t, tables{dir: "/proc/net", port: port}.sockets); !slices.Equal(table, before) {
			t.Errorf("%s: sockets %v by the kernel's tables, want %v", address, table, before)
		}
		conn, err := net.Dial("tcp", first.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if again := sockets(t, listeners); !slices.Equal(again, before) {
			t.Errorf("%s: a connection changed %v to %v", address, before, again)
		}
		_ = first.Close()
		if gone := sockets(t, listeners); len(gone) != 0 {
			t.Errorf("%s: %v after the end", address, gone)
		}
		second, err := net.Listen("tcp", first.Addr().String())
		if err != nil {
			t.Skip("somebody else took the port:", err)
		}
		if after := sockets(t, listeners); len(after) != 1 || common(before, after) {
			t.Errorf("%s: sockets %v after %v, want another one", address, after, before)
		}
		_ = second.Close() // held until here: the collector closes a listener that nobody holds
	}
}

func sockets(t *testing.T, find func() ([]uint64, error)) []uint64 {
	t.Helper()
	found, err := find()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTables(t *testing.T) {
	t.Parallel()
	const heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	line := func(address, state, inode string) string {
		return "   0: " + address + " 00000000:0000 " + state + " 00000000:00000000 00:00000000 00000000     0        0 " + inode + " 1 0000000000000000 100 0 0 10 0\n"
	}
	dir := t.TempDir()
	table := heading + line("0100007F:1F90", "0A", "12") + line("00000000:1F91", "0A", "13") + line("00000000:1F90", "0A", "11") + line("0100007F:1F90", "01", "14")
	if err := os.WriteFile(filepath.Join(dir, "tcp"), []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	got := sockets(t, tables{dir: dir, port: 8080}.sockets)
	if want := []uint64{11, 12}; !slices.Equal(got, want) {
		t.Errorf("sockets %v, want %v; there is no table of IPv6", got, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "tcp6"), []byte(heading+line("00000000:1F90", "0A", "x")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (tables{dir: dir, port: 8080}).sockets(); err == nil {
		t.Error("no error of a table that is none")
	}
}

// Where the kernel can't be asked, the tables are read; what it says has to be right.
func TestDiagnosis(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6:", err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	found, err := diagnose(port)
	if err != nil {
		t.Skip("the kernel doesn't tell:", err)
	}
	if table := sockets(t, tables{dir: "/proc/net", port: port}.sockets); len(found) != 1 || !slices.Equal(found, table) {
		t.Errorf("sockets %v, want %v", found, table)
	}
}

func BenchmarkSockets(b *testing.B) {
	for name, find := range map[string]func() ([]uint64, error){
		"asked": func() ([]uint64, error) { return diagnose(1) }, "tables": tables{dir: "/proc/net", port: 1}.sockets,
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := find(); err != nil {
					b.Skip(err)
				}
			}
		})
	}
}
