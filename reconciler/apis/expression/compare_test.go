package expression

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/cel-go/common/types"
)

// deep is an event with a list of 20,000 lists, one of 100 numbers, and a long text.
func deep(t testing.TB) *Event {
	t.Helper()
	return upload(t, fmt.Sprintf(`{"deep": [%s[]], "l": [%s0], "text": %q}`, strings.Repeat("[0],", 20_000), strings.Repeat("0,", 99), strings.Repeat("a", 400_000)))
}

// A comparison costs what it looks through, however deep, and is paid before.
func TestComparisonsArePaid(t *testing.T) {
	t.Parallel()
	shared := func(text string) string { return "[" + text + "]" + strings.Repeat(".map(x, [x, x])", 40) }
	for expression, passes := range map[string]bool{
		"[event.data.deep] == [event.data.deep]":                                true,
		"event.data.l.all(i, [event.data.deep] == [event.data.deep])":           false,
		"event.data.l.all(i, !([event.data.deep] != [event.data.deep]))":        false,
		"event.data.l.all(i, {'a': event.data.deep} == {'a': event.data.deep})": false,
		"event.data.l.all(i, [event] == [event])":                               false,
		"event.data.l.all(i, event.data.deep in [event.data.deep])":             false,
		"event.data.l.all(i, event.?data.deep == event.?data.deep)":             false,
		shared("0") + " == " + shared("0"):                                      false,
		shared("0") + " in [" + shared("0") + "]":                               false,
		// What differs at once, or by its size, is compared at once.
		"event.data.l.all(i, event.data.deep != [event.data.l])":                 true,
		"event.data.l.all(i, event.data.deep != event.data.l)":                   true,
		"event.data.l.all(i, [[event.data.deep]] != [[0]])":                      true,
		"event.data.l.all(i, i in event.data.l)":                                 true,
		"event.data.l.all(i, event.data.l.all(j, event.data.text != ''))":        false,
		"event.data.l.all(i, event.data.l.all(j, event.data.text > ''))":         false,
		"event.data.l.all(i, event.data.l.all(j, event.data.text.size() > 0))":   false,
		"event.data.l.all(i, event.data.l.all(j, event.data.text.contains('')))": false,
	} {
		template, err := Compile("${" + expression + " ? 'x' : 'y'}")
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		e := deep(t)
		got, err := template.Text(t.Context(), e, 10)
		if passes && (err != nil || got != "x") {
			t.Errorf("%s: %q, %v", expression, got, err)
		}
		if !passes && (err == nil || !strings.Contains(err.Error(), "a cost of at most")) {
			t.Errorf("%s: %q, %v, with %+v spent", expression, got, err, e.budget.spent)
		}
	}
}

// What is paid compares as CEL does.
func TestComparisons(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]bool{
		"1 == 1":                        true,
		"1 != 1":                        false,
		"dyn(1) == 1.0":                 true,
		"dyn(1) != 'a'":                 true,
		"[1, [2]] == [1, [2]]":          true,
		"[1, [2]] != [1, [3]]":          true,
		"{'a': [1]} == {'a': [1]}":      true,
		"event.?a == event.?b":          true,
		"event.?id == optional.of('1')": true,
		"event == event":                true,
		"[2] in [[1], [2]]":             true,
		"'a' in {'a': 1}":               true,
		"3 in [1, 2]":                   false,
		"'a' < 'b' && 2 >= 1 && b'a' <= b'a' && 1.5 > 1.0": true,
	} {
		template, err := Compile("${" + expression + " ? 'x' : 'y'}")
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if got, err := template.Text(t.Context(), upload(t, object), 10); err != nil || (got == "x") != want {
			t.Errorf("%s: %q, %v", expression, got, err)
		}
	}
}

// What the lighter of two values weighs bounds the time that it takes to tell.
func TestLighter(t *testing.T) {
	t.Parallel()
	wide := types.DefaultTypeAdapter.NativeToValue(make([]int, 10_000))
	narrow := types.DefaultTypeAdapter.NativeToValue([]int{1})
	for name, c := range map[string]struct{ got, want uint64 }{
		"the first":         {lighter(narrow, wide, maxCost), 2},
		"the second":        {lighter(wide, narrow, maxCost), 2},
		"both":              {lighter(wide, wide, maxCost), 10_001},
		"above what may be": {lighter(wide, wide, 100), 101},
		"nothing is left":   {lighter(wide, narrow, 0), 1},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", name, c.got, c.want)
		}
	}
}

// All expressions of an event have one budget, in whatever texts they are.
func TestOneBudgetAnEvent(t *testing.T) {
	t.Parallel()
	one := "${event.data.l.all(i, event.data.l.all(j, j == 0)) ? 'x' : 'y'}"
	for name, c := range map[string]struct {
		text          string
		times, passed int
	}{
		"in one text":    {strings.Repeat(one, MaxExpressions), 1, 0},
		"in many of one": {one, 100, 30},
	} {
		template, err := Compile(c.text)
		if err != nil {
			t.Fatal(err)
		}
		e, passed := deep(t), 0
		for range c.times {
			if _, err = template.Text(t.Context(), e, 100); err != nil {
				break
			}
			passed++
		}
		if err == nil || !strings.Contains(err.Error(), "a cost of at most") || passed > c.passed {
			t.Errorf("%s: %v after %d", name, err, passed)
		}
	}
}

// Time that is up ends a comprehension, and what comes behind much work, but nothing that is little.
func TestTimeIsUp(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	evaluate := func(ctx context.Context, e *Event, expression string) error {
		template, err := Compile("${" + expression + " ? 'x' : 'y'}")
		if err != nil {
			t.Fatal(err)
		}
		_, err = template.Text(ctx, e, 10)
		return err
	}
	e := deep(t)
	if err := evaluate(ended, e, "event.data.deep.all(i, true)"); !errors.Is(err, context.Canceled) {
		t.Errorf("a comprehension: %v", err)
	}
	if err := evaluate(ended, deep(t), "event.id == '1'"); err != nil {
		t.Errorf("what is little: %v", err)
	}
	e = deep(t)
	if err := evaluate(t.Context(), e, "event.data.deep.all(i, i != [1])"); err != nil {
		t.Fatal(err)
	}
	if err := evaluate(ended, e, "event.id == '1'"); !errors.Is(err, context.Canceled) {
		t.Errorf("behind much: %v, with %+v spent", err, e.budget.spent)
	}
}
