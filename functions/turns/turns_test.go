package turns

import "testing"

// Each name has one turn, and all together no more than there are.
func TestTurns(t *testing.T) {
	of := New(2)
	for i, c := range []struct {
		name  string
		leave bool
		want  bool
	}{
		{name: "a", want: true},
		{name: "a"},
		{name: "b", want: true},
		{name: "c"},
		{name: "a", leave: true},
		{name: "b"},
		{name: "c", want: true},
		{name: "a"},
		{name: "d", leave: true},
		{name: "a"},
	} {
		if c.leave {
			of.Leave(c.name)
		} else if got := of.Take(c.name); got != c.want {
			t.Errorf("step %d: %s has a turn: %t, want %t", i, c.name, got, c.want)
		}
	}
}
