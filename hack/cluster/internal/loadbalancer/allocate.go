// Package loadbalancer gives every Service of type LoadBalancer an address of
// its own in 127.1.0.0/16. These addresses exist on this machine only; writing
// one into a Service's status is enough for kube-proxy to serve it.
package loadbalancer

import (
	"fmt"
	"sort"
)

// Service is what the allocator needs to know of one.
type Service struct {
	Namespace, Name string
	// Created orders the claims to an address that two Services hold.
	Created string
	// Wants says whether it is of type LoadBalancer.
	Wants bool
	// Addresses are those in its status.
	Addresses []string
}

// Assignment is a status to write; an empty address clears it.
type Assignment struct {
	Namespace, Name string
	Address         string
}

// Assign returns the statuses that have to change. A Service keeps the address
// that it has while it lives; of two with the same one the older keeps it.
// Addresses of Services that are gone are free again, lowest first.
func Assign(services []Service) ([]Assignment, error) {
	sorted := append([]Service(nil), services...)
	sort.Slice(sorted, func(i, j int) bool {
		a, b := sorted[i], sorted[j]
		if a.Created != b.Created {
			return a.Created < b.Created
		}
		return a.Namespace+"/"+a.Name < b.Namespace+"/"+b.Name
	})
	taken := map[string]bool{}
	var waiting, writes []Assignment
	for _, s := range sorted {
		write := Assignment{Namespace: s.Namespace, Name: s.Name}
		switch {
		case !s.Wants && ours(s.Addresses):
			writes = append(writes, write)
		case !s.Wants:
		case ours(s.Addresses) && !taken[s.Addresses[0]]:
			taken[s.Addresses[0]] = true
		default:
			waiting = append(waiting, write)
		}
	}
	next := 0
	for _, w := range waiting {
		for ; taken[address(next)]; next++ {
			if next >= capacity {
				return nil, fmt.Errorf("all %d addresses are taken", capacity)
			}
		}
		w.Address = address(next)
		taken[w.Address] = true
		writes = append(writes, w)
	}
	return writes, nil
}

// capacity leaves out the last octets 0 and 255, which some programs take for
// networks and broadcasts.
const capacity = 256 * 254

func address(i int) string { return fmt.Sprintf("127.1.%d.%d", i/254, i%254+1) }

// ours reports whether a status holds exactly one address that we could have
// given out.
func ours(addresses []string) bool {
	if len(addresses) != 1 {
		return false
	}
	var third, fourth int
	n, err := fmt.Sscanf(addresses[0], "127.1.%d.%d", &third, &fourth)
	return err == nil && n == 2 && third >= 0 && third <= 255 && fourth >= 1 && fourth <= 254
}
