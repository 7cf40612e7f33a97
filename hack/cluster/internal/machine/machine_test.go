package machine

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestAtLeast(t *testing.T) {
	tests := []struct {
		version, least string
		want           bool
	}{
		{"1.6.20~ds1", "1.6", true},
		{"1.10", "1.9", true},
		{"v1.1.5+ds1", "1.1", true},
		{"1.0.0", "1.0.1", false},
		{"1", "1.0.1", false},
		{"", "0.1", false},
	}
	for _, tt := range tests {
		if got := AtLeast(tt.version, tt.least); got != tt.want {
			t.Errorf("AtLeast(%q, %q) = %v", tt.version, tt.least, got)
		}
	}
	if got := firstVersion("nftables v1.0.6 (Lester Gooch #5)"); got != "1.0.6" {
		t.Errorf("got %q", got)
	}
	if got := firstVersion("containerd github.com/containerd/containerd 1.6.20~ds1 x"); got != "1.6.20~ds1" {
		t.Errorf("got %q", got)
	}
}

func TestScanListeners(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1
   1: 00000000:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1
   2: 0100007F:0035 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 333 1
`
	tests := []struct {
		address string
		inode   string
	}{
		{"127.0.0.1:6443", "111"},
		{"10.88.0.1:6443", ""},
		{"10.88.0.1:5000", "222"},
		{"127.0.0.1:53", ""}, // a connection, not a listener
	}
	for _, tt := range tests {
		got := scanListeners(bufio.NewScanner(strings.NewReader(table)), "tcp", netip.MustParseAddrPort(tt.address))
		if (got == nil) != (tt.inode == "") || (got != nil && got.inode != tt.inode) {
			t.Errorf("%s: got %+v, want inode %q", tt.address, got, tt.inode)
		}
	}
}

func TestPortsFreeNamesTheOwner(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	claim := Claim{Component: "etcd", Address: l.Addr().String()}
	err = PortsFree([]Claim{claim})
	if err == nil || !strings.Contains(err.Error(), "which etcd needs, is taken by pid") {
		t.Errorf("got %v", err)
	}
	l.Close()
	if err := PortsFree([]Claim{claim}); err != nil {
		t.Errorf("after closing: %v", err)
	}
}

func TestMountPoints(t *testing.T) {
	//nolint:dupword // the kernel's own format
	const info = `22 1 8:1 / / rw - ext4 /dev/vda rw
23 22 0:5 / /var/lib/sluice-cluster/kubelet/pods/a rw - tmpfs tmpfs rw
24 22 0:6 / /var/lib/sluice-cluster-other rw - tmpfs tmpfs rw
25 22 0:7 / /var/lib/sluice-cluster/with\040blank rw - tmpfs tmpfs rw
`
	got := mountPoints(info, []string{"/var/lib/sluice-cluster"})
	want := []string{"/var/lib/sluice-cluster/kubelet/pods/a", "/var/lib/sluice-cluster/with blank"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOverlap(t *testing.T) {
	if !overlap("10.88.3.1/24", "10.88.0.0/16") || !overlap("10.0.0.1/8", "10.88.0.0/16") || overlap("192.0.2.2/24", "10.88.0.0/16") {
		t.Error("overlap is wrong")
	}
}

func TestDiskFree(t *testing.T) {
	future := t.TempDir() + "/not/made/yet"
	if err := DiskFree(future, 0); err != nil {
		t.Error(err)
	}
	if err := DiskFree(future, 1<<40); err == nil || !strings.Contains(err.Error(), "GB free") {
		t.Errorf("got %v", err)
	}
}

func TestReachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + l.Addr().String()
	l.Close()
	err = Reachable(context.Background(), nobody+",direct")
	if err == nil || !strings.HasPrefix(err.Error(), "no network") {
		t.Errorf("got %v", err)
	}
	if err := Reachable(context.Background(), "off"); err != nil {
		t.Errorf("without a proxy there is nothing to ask: %v", err)
	}
}
