package scrape

import (
	"fmt"
	"maps"
	"testing"
	"time"
)

func TestCPUOfContainers(t *testing.T) {
	read := func(second, first, other int) CPU {
		page := `{"node": {"cpu": {"time": "2026-01-01T00:00:%02[1]dZ", "usageCoreNanoSeconds": %[1]d500000000}}, "pods": [
			{"podRef": {"name": "a", "namespace": "n"}, "containers": [{"name": "c", "cpu": {"time": "2026-01-01T00:00:%02[1]dZ", "usageCoreNanoSeconds": %[2]d000000000}}]},
			{"podRef": {"name": "b", "namespace": "n"}, "containers": [{"name": "c", "cpu": {"time": "2026-01-01T00:00:00Z", "usageCoreNanoSeconds": 1000000000}}]},
			{"podRef": {"name": "a", "namespace": "m"}, "containers": [{"name": "c", "cpu": {"time": "2026-01-01T00:00:05Z", "usageCoreNanoSeconds": %[3]d000000000}}]}]}`
		c := CPU{}
		if err := c.add(fmt.Appendf(nil, page, second, first, other)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	// The other is not counted anew.
	if got, want := read(30, 20, 9).CoresSince(read(10, 10, 8)), map[string]float64{"n/c": 0.5, Machines: 1}; !maps.Equal(got, want) {
		t.Errorf("cores %v, want %v", got, want)
	}
	if err := (CPU{}).add([]byte("no JSON")); err == nil {
		t.Error("read what is no summary")
	}
}

func TestMemoryOfContainers(t *testing.T) {
	m := Memory{}
	if err := m.add([]byte(`{"pods": [
		{"podRef": {"name": "a", "namespace": "n"}, "containers": [
			{"name": "c", "memory": {"time": "2026-01-01T00:00:05Z", "rssBytes": 7, "workingSetBytes": 9}},
			{"name": "d"}]}]}`)); err != nil {
		t.Fatal(err)
	}
	want := Memory{
		{"n", "a", "c"}: {RSS: 7, WorkingSet: 9, At: time.Date(2026, 1, 1, 0, 0, 5, 0, time.UTC)},
		{"n", "a", "d"}: {},
	}
	if !maps.Equal(m, want) {
		t.Errorf("memory %v, want %v", m, want)
	}
	if err := m.add([]byte("no JSON")); err == nil {
		t.Error("read what is no summary")
	}
}
