package expression

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/cel-go/interpreter"
)

// large is an event with two strings of half a megabyte, and a list.
func large(t testing.TB) *Event {
	t.Helper()
	text := strings.Repeat("a", 500_000)
	content, err := stdjson.Marshal(map[string]any{"a": text, "b": text, "l": make([]int, 1000)})
	if err != nil {
		t.Fatal(err)
	}
	return upload(t, string(content))
}

// What would come to far more than the event has ends before it is made.
func TestWhatExpressionsMakeIsBounded(t *testing.T) { //nolint:paralleltest // it counts what is allocated
	twice := func(text string) string { return "[" + text + "]" + strings.Repeat(".map(x, x + x)", 20) + "[0]" }
	for name, expression := range map[string]string{
		"replace":                    "event.data.a.replace('', event.data.b)",
		"replace as often as said":   "event.data.a.replace('a', event.data.b, 1000)",
		"replace over and over":      "['0123456789']" + strings.Repeat(".map(x, x.replace('', x))", 8) + "[0]",
		"join":                       "event.data.l.map(i, event.data.a).join(event.data.b)",
		"join of little":             "event.data.l.map(i, 'a').join(event.data.b)",
		"strings added":              twice("event.data.a"),
		"bytes added":                "string(" + twice("bytes(event.data.a)") + ")",
		"each of a list":             "event.data.l.map(i, event.data.a + event.data.b)[0]",
		"format":                     "'%s'.format(" + twice("[event.data.a]") + ")",
		"format of what is shared":   "'%s'.format([[event.data.a]" + strings.Repeat(".map(x, [x, x])", 40) + "])",
		"split":                      "event.data.l.map(i, event.data.a.split(''))[0][0]",
		"lists of constants":         "event.data.l.map(i, [" + strings.Repeat("0,", 3000) + "0]).size() > 0 ? 'x' : 'y'",
		"quote":                      "event.data.l.map(i, strings.quote(event.data.a))[0]",
		"urlEncode":                  "event.data.l.map(i, urlEncode(event.data.a))[0]",
		"base64":                     "event.data.l.map(i, base64.encode(bytes(event.data.a)))[0]",
		"a pattern written out":      "event.data.l.map(i, 'a'.matches('(" + strings.Repeat("a", 500) + "){1000}'))[0] ? 'x' : 'y'",
		"what || would pass over":    "event.data.a.replace('', event.data.b) == '' || true ? 'x' : 'y'",
		"what && would pass over":    "event.data.a.replace('', event.data.b) == '' && false ? 'x' : 'y'",
		"what a variable hides":      "[1].map(event, 'a'.replace('', 'x'))[0].replace('', event.data.a) + event.data.a.replace('', event.data.a)",
		"what is made in many turns": "event.data.l.map(i, event.data.a.upperAscii())[0]",
	} {
		template, err := Compile("${" + expression + "}")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		e := large(t)
		if _, err := e.decode(); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = template.Text(t.Context(), e, 1<<30)
		runtime.ReadMemStats(&after)
		var cancelled interpreter.EvalCancelledError
		if !errors.As(err, &cancelled) || cancelled.Cause != interpreter.CostLimitExceeded {
			t.Errorf("%s: %v", name, err)
		}
		// []rune has four bytes for each of a string, and what CEL's own count of the cost holds is
		// its own.
		if made := after.TotalAlloc - before.TotalAlloc; made > 16*maxMade {
			t.Errorf("%s has allocated %d MB", name, made>>20)
		}
	}
}

// Searches are paid before: CEL would count their cost once they are done.
func TestSearchesArePaidBefore(t *testing.T) {
	t.Parallel()
	for _, expression := range []string{
		"event.data.a.indexOf(event.data.a + 'b') > 0", "event.data.a.lastIndexOf('b' + event.data.a.substring(250000)) > 0",
		"event.data.a.matches(event.data.b)", "event.data.a.matches('(a{30}b?){30}')",
	} {
		template, err := Compile("${" + expression + " ? 'x' : 'y'}")
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		e := large(t)
		if _, err := template.Text(t.Context(), e, 1<<30); err == nil || e.budget.check() == nil {
			t.Errorf("%s: %v, with a budget of %+v spent", expression, err, e.budget.spent)
		}
	}
}

// What is within the bounds does what CEL does.
func TestWhatIsPaidStaysAsItIs(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		"event.data.bucket.replace('', '-')":                         "-b-",
		"'aaa'.replace('a', 'b', 2)":                                 "bba",
		"'aaa'.replace('a', 'b', -1)":                                "bbb",
		"event.data.tags.join()":                                     "xy",
		"event.data.tags.join(', ')":                                 "x, y",
		"(event.data.tags + ['z']).map(t, t + t).join('+')":          "xx+yy+zz",
		"string([1, 2].map(i, i + 1).size() + 1)":                    "3",
		"string(b'a' + b'b')":                                        "ab",
		"string(timestamp('2026-01-01T00:00:00Z') + duration('1h'))": "2026-01-01T01:00:00Z",
		"'a,b,c'.split(',', 2)[1]":                                   "b,c",
		"'%s %d %.2f %s'.format([event.data.bucket, event.data.tags.size(), event.data.part, event.data.tags])": "b 2 0.50 [x, y]",
		"string('abcabc'.indexOf('c', 3))":                                                 "5",
		"string('abcabc'.lastIndexOf('b'))":                                                "4",
		"'AbC'.lowerAscii() + 'AbC'.upperAscii()":                                          "abcABC",
		"'abc'.reverse() + 'abc'.substring(1, 2) + ' a '.trim() + 'abc'.charAt(2)":         "cbabac",
		"strings.quote('a\"')":                                                             `"a\""`,
		"string(base64.decode(base64.encode(bytes('ab'))))":                                "ab",
		"'abc'.matches('^a.c$') && matches('abc', 'b') && 'abc'.contains('b') ? 'x' : 'y'": "x",
		"string('äö'.size()) + string(size(event.data.tags)) + string(size(b'abc'))":       "223",
	} {
		template, err := Compile("${" + expression + "}")
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if got, err := template.Text(t.Context(), upload(t, object), 100); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", expression, got, err, want)
		}
	}
	for expression, why := range map[string]string{
		"event.data.tags.map(t, event.data.size).join()": "no such overload",
		"event.data.size.replace('a', 'b')":              "no such overload",
		"event.data.bucket + event.data.size":            "no such overload",
		"'a'.matches('(')":                               "missing closing",
	} {
		template, err := Compile(fmt.Sprintf("${dyn(%s) == 'a' ? 'x' : 'y'}", expression))
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if _, err := template.Text(t.Context(), upload(t, object), 100); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v; want %q", expression, err, why)
		}
	}
}
