package loadbalancer

import (
	"math/rand"
	"reflect"
	"testing"
)

func TestAssign(t *testing.T) {
	lb := func(name, created string, addresses ...string) Service {
		return Service{Namespace: "ns", Name: name, Created: created, Wants: true, Addresses: addresses}
	}
	tests := []struct {
		name     string
		services []Service
		want     []Assignment
	}{
		{name: "nothing to do"},
		{
			name:     "the older is served first",
			services: []Service{lb("young", "2"), lb("old", "1")},
			want:     []Assignment{{"ns", "old", "127.1.0.1"}, {"ns", "young", "127.1.0.2"}},
		},
		{
			name:     "kept, and gaps are filled",
			services: []Service{lb("a", "1", "127.1.0.3"), lb("b", "2", "127.1.0.1"), lb("c", "3")},
			want:     []Assignment{{"ns", "c", "127.1.0.2"}},
		},
		{
			name:     "the same address twice",
			services: []Service{lb("young", "2", "127.1.0.1"), lb("old", "1", "127.1.0.1")},
			want:     []Assignment{{"ns", "young", "127.1.0.2"}},
		},
		{
			name:     "a foreign address is replaced",
			services: []Service{lb("a", "1", "192.0.2.1")},
			want:     []Assignment{{"ns", "a", "127.1.0.1"}},
		},
		{
			name:     "no longer a LoadBalancer",
			services: []Service{{Namespace: "ns", Name: "a", Addresses: []string{"127.1.0.9"}}},
			want:     []Assignment{{"ns", "a", ""}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Assign(tt.services)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// However Services come and go, addresses are distinct, nobody who has one
// loses it, and a second look changes nothing.
func TestAssignProperties(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	live := map[string]Service{}
	for round := range 300 {
		if random.Intn(3) > 0 {
			name := string(rune('a' + random.Intn(26)))
			if _, there := live[name]; !there {
				live[name] = Service{Name: name, Created: string(rune(round)), Wants: true}
			}
		} else {
			for name := range live {
				delete(live, name)
				break
			}
		}
		var services []Service
		for _, s := range live {
			services = append(services, s)
		}
		writes, err := Assign(services)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range writes {
			s := live[w.Name]
			if len(s.Addresses) > 0 {
				t.Fatalf("%s lost %s", s.Name, s.Addresses[0])
			}
			s.Addresses = []string{w.Address}
			live[w.Name] = s
		}
		seen := map[string]string{}
		services = services[:0]
		for name, s := range live {
			if other, twice := seen[s.Addresses[0]]; twice {
				t.Fatalf("%s and %s share %s", name, other, s.Addresses[0])
			}
			seen[s.Addresses[0]] = name
			services = append(services, s)
		}
		if again, _ := Assign(services); len(again) > 0 {
			t.Fatalf("a second look changes %v", again)
		}
	}
}
