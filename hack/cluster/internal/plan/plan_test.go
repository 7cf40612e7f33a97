package plan

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestNewOrders(t *testing.T) {
	tests := []struct {
		name  string
		steps []Step
		want  []string
		err   string
	}{
		{
			name:  "declared order among the free",
			steps: []Step{{Name: "a"}, {Name: "b"}, {Name: "c"}},
			want:  []string{"a", "b", "c"},
		},
		{
			name:  "needs come first",
			steps: []Step{{Name: "apiserver", Needs: []string{"etcd", "certs"}}, {Name: "certs"}, {Name: "etcd", Needs: []string{"certs"}}},
			want:  []string{"certs", "etcd", "apiserver"},
		},
		{
			name:  "cycle",
			steps: []Step{{Name: "a", Needs: []string{"b"}}, {Name: "b", Needs: []string{"a"}}, {Name: "c"}},
			err:   "wait for each other: a, b",
		},
		{name: "unknown need", steps: []Step{{Name: "a", Needs: []string{"x"}}}, err: "which nobody declares"},
		{name: "twice", steps: []Step{{Name: "a"}, {Name: "a"}}, err: "declared twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := New(tt.steps)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Names(); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func runner(t *testing.T) Runner {
	return Runner{Display: NewDisplay(io.Discard, false, time.Now), Logs: t.TempDir(), HeavySlots: 2}
}

func TestRunBoundsHeavySteps(t *testing.T) {
	var mu sync.Mutex
	now, most, ran := 0, 0, 0
	heavy := func(context.Context, *Report) error {
		mu.Lock()
		now++
		ran++
		most = max(most, now)
		mu.Unlock()
		time.Sleep(5 * time.Millisecond)
		mu.Lock()
		now--
		mu.Unlock()
		return nil
	}
	var steps []Step
	for _, n := range strings.Split("abcdefgh", "") {
		steps = append(steps, Step{Name: n, Weight: Heavy, Run: heavy})
	}
	p, err := New(steps)
	if err != nil {
		t.Fatal(err)
	}
	if err := runner(t).Run(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	if ran != 8 || most != 2 {
		t.Errorf("ran %d steps, at most %d at once; want 8 and 2", ran, most)
	}
}

func TestRunStopsAtTheFirstFailure(t *testing.T) {
	boom := errors.New("boom")
	var after bool
	p, err := New([]Step{
		{Name: "fails", Run: func(context.Context, *Report) error { return boom }},
		{Name: "beside", Run: func(ctx context.Context, _ *Report) error { <-ctx.Done(); return ctx.Err() }},
		{Name: "after", Needs: []string{"fails"}, Run: func(context.Context, *Report) error { after = true; return nil }},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = runner(t).Run(context.Background(), p)
	if !errors.Is(err, boom) || after {
		t.Errorf("got %v, later step ran: %v", err, after)
	}
}

func TestNeeded(t *testing.T) {
	steps := []Step{
		{Name: "machine"}, {Name: "etcd", Needs: []string{"machine"}}, {Name: "build store"},
		{Name: "store", Needs: []string{"machine", "build store"}}, {Name: "other", Needs: []string{"store"}},
	}
	for _, tt := range []struct{ names, want []string }{
		{nil, nil},
		{[]string{"machine"}, []string{"machine"}},
		{[]string{"store"}, []string{"machine", "build store", "store"}},
		{[]string{"store", "etcd"}, []string{"machine", "etcd", "build store", "store"}},
	} {
		needed, err := Needed(steps, tt.names...)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range needed {
			got = append(got, s.Name)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("for %v: %v, want %v", tt.names, got, tt.want)
		}
	}
	if _, err := Needed(steps, "none"); err == nil || !strings.Contains(err.Error(), `"none"`) {
		t.Errorf("of no step: %v", err)
	}
	if len(steps) != 5 {
		t.Errorf("%d steps are left", len(steps))
	}
}
