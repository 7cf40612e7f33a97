package machine

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// listener is a socket that waits for connections or datagrams.
type listener struct {
	address netip.AddrPort
	inode   string
}

// listenerAt returns the socket that holds address, or the whole port, if any.
func listenerAt(network, address string) (*listener, error) {
	want, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	for _, table := range []string{network, network + "6"} {
		file, err := os.Open("/proc/net/" + table)
		if err != nil {
			continue // no IPv6 here
		}
		found := scanListeners(bufio.NewScanner(file), network, want)
		file.Close()
		if found != nil {
			return found, nil
		}
	}
	return nil, nil
}

func scanListeners(lines *bufio.Scanner, network string, want netip.AddrPort) *listener {
	const tcpListening = "0A"
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || (network == "tcp" && fields[3] != tcpListening) {
			continue
		}
		at, err := parseKernelAddress(fields[1])
		if err != nil || at.Port() != want.Port() {
			continue
		}
		if at.Addr() == want.Addr() || at.Addr().IsUnspecified() {
			return &listener{address: at, inode: fields[9]}
		}
	}
	return nil
}

// parseKernelAddress reads the form of /proc/net/tcp: the address in hex, each
// four bytes in the machine's order (little-endian on all that we run on).
func parseKernelAddress(s string) (netip.AddrPort, error) {
	host, port, ok := strings.Cut(s, ":")
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("address %q", s)
	}
	raw, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for i := 0; i+4 <= len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ip, ok := netip.AddrFromSlice(raw)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("address %q", s)
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(number)), nil
}

// owner names the process that holds the socket, as far as /proc tells.
func (l *listener) owner() string {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != "socket:["+l.inode+"]" {
			continue
		}
		pid := strings.Split(link, "/")[2]
		name, _ := os.ReadFile("/proc/" + pid + "/comm")
		return fmt.Sprintf("pid %s (%s) at %s", pid, strings.TrimSpace(string(name)), l.address)
	}
	return fmt.Sprintf("somebody at %s", l.address)
}
