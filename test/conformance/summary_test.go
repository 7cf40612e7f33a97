package main

import (
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	const root = `{"Action":"run","Test":"Suite"}
{"Action":"output","Test":"Suite","Output":"=== RUN   Suite\n"}
`
	for _, test := range []struct {
		name, events string
		want         []string
		fails        bool
	}{
		{"all passed", root + `{"Action":"run","Test":"Suite/tls"}
{"Action":"pass","Test":"Suite/tls","Elapsed":1.25}
{"Action":"run","Test":"Suite/path"}
{"Action":"run","Test":"Suite/path//foo"}
{"Action":"pass","Test":"Suite/path//foo"}
{"Action":"pass","Test":"Suite/path"}
{"Action":"pass","Test":"Suite"}`, []string{"pass tls (1.2 s)", "3 passed, 0 failed, 0 skipped"}, false},
		{"one skipped", root + `{"Action":"run","Test":"Suite/a"}
{"Action":"pass","Test":"Suite/a"}
{"Action":"output","Test":"Suite/b","Output":"    run.go:7: no such thing here\n"}
{"Action":"output","Test":"Suite/b","Output":"    --- SKIP: Suite/b (0.00s)\n"}
{"Action":"skip","Test":"Suite/b"}
{"Action":"pass","Test":"Suite"}`, []string{"SKIPPED b: run.go:7: no such thing here", "1 passed, 0 failed, 1 skipped"}, false},
		{"one failed", root + `{"Action":"output","Test":"Suite/a","Output":"    a.go:7: 404\n"}
{"Action":"output","Test":"Suite/a","Output":"    a.go:8: 200\n"}
{"Action":"output","Test":"Suite/a","Output":"    a.go:7: 404\n"}
{"Action":"fail","Test":"Suite/a"}
{"Action":"fail","Test":"Suite"}`, []string{"FAILED a", "a.go:7: 404 (2 times)", "a.go:8: 200", "0 passed, 1 failed, 0 skipped"}, true},
		{"one never ended", root + `{"Action":"run","Test":"Suite/a"}
{"Action":"output","Output":"panic: test timed out after 15m\n"}
{"Action":"fail"}`, []string{"panic: test timed out", "FAILED a", "did not end", "0 passed, 1 failed, 0 skipped"}, true},
		{"it can't be built", `{"Action":"build-output","Output":"x.go:1: undefined: y\n"}
{"Action":"fail"}`, []string{"undefined: y", "0 passed, 0 failed, 0 skipped"}, true},
		{"nothing ran", "", []string{"0 passed"}, true},
		{"no events", "ok", nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			err := run(strings.NewReader(test.events), &out)
			if (err != nil) != test.fails {
				t.Errorf("error %v, want one: %t", err, test.fails)
			}
			rest := out.String()
			for _, want := range test.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("%q is not in\n%s", want, out.String())
				}
				rest = after
			}
		})
	}
}
