package expression

import (
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Data of many small values is refused before it becomes many times its size.
func TestValuesAreBounded(t *testing.T) { //nolint:paralleltest // it counts what is allocated
	list := func(of string, count int) string { return "[" + strings.Repeat(of+",", count-1) + of + "]" }
	for name, c := range map[string]struct {
		data   string
		passes bool
	}{
		"as many as may be":   {list("0", maxValues-1), true},
		"one more":            {list("0", maxValues), false},
		"objects":             {list(`{"":0}`, maxValues), false},
		"lists":               {list("[]", maxValues), false},
		"deep":                {strings.Repeat("[", maxValues+1) + strings.Repeat("]", maxValues+1), false},
		"a string of commas":  {list(`"`+strings.Repeat(`,[{\"`, 100_000)+`"`, 2), true},
		"strings that escape": {list(`"\\"`, maxValues+1), false},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := decode([]byte(c.data))
		runtime.ReadMemStats(&after)
		if c.passes != (err == nil) || (err != nil && !strings.Contains(err.Error(), "more than 200000 values")) {
			t.Errorf("%s: %v", name, err)
		}
		if made := after.TotalAlloc - before.TotalAlloc; !c.passes && made > uint64(2*len(c.data)) {
			t.Errorf("%s: %d bytes have made %d", name, len(c.data), made)
		}
	}
}

// What is counted is never less than what is decoded.
func TestAllValuesAreCounted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var values func(value any) int
		values = func(value any) int {
			count := 1
			switch value := value.(type) {
			case []any:
				for _, of := range value {
					count += values(of)
				}
			case map[string]any:
				for _, of := range value {
					count += values(of)
				}
			}
			return count
		}
		part := rapid.SampledFrom([]string{`"a,[{"`, `"\\"`, `"\""`, "0", "[]", "{}", `{"":[1, {"b,": null}]}`, "[true, [[2]]]"})
		data := "[" + strings.Join(rapid.SliceOfN(part, 0, 20).Draw(t, "parts"), ", ") + "]"
		value, err := decode([]byte(data))
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if counted, want := ValuesIn([]byte(data), maxValues), values(value); counted < want {
			t.Fatalf("%s has %d values, and %d are counted", data, want, counted)
		}
	})
}
