package rows

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// Text is cut where JSON is, whatever is quoted in it, and however it is spaced.
func TestMembersAndElements(t *testing.T) {
	blank := rapid.StringMatching(`[ \t\r\n]{0,2}`)
	var value func(depth int) *rapid.Generator[string]
	value = func(depth int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			kind := rapid.IntRange(0, 2+2*min(depth, 1)).Draw(t, "kind")
			if kind < 2 {
				quoted, _ := json.Marshal(rapid.StringMatching(`[a,:"\\{}\[\]é ]{0,6}`).Draw(t, "text"))
				return string(quoted)
			}
			if kind == 2 {
				return rapid.SampledFrom([]string{"1", "-1.50e3", "true", "null"}).Draw(t, "literal")
			}
			var inside []string
			for i := range rapid.IntRange(0, 3).Draw(t, "elements") {
				element := blank.Draw(t, "before") + value(depth-1).Draw(t, "element") + blank.Draw(t, "behind")
				if kind == 4 {
					element = fmt.Sprintf(`%s"k,:\"%d"%s:`, blank.Draw(t, "before"), i, blank.Draw(t, "behind")) + element
				}
				inside = append(inside, element)
			}
			if kind == 3 {
				return "[" + strings.Join(inside, ",") + blank.Draw(t, "in") + "]"
			}
			return "{" + strings.Join(inside, ",") + blank.Draw(t, "in") + "}"
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(value(3).Draw(t, "value"))
		var wantMembers map[string]json.RawMessage
		got, err := members(text)
		if json.Unmarshal(text, &wantMembers) == nil && wantMembers != nil {
			if diff := cmp.Diff(wantMembers, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
				t.Fatalf("%s: %v (-want, +got): %s", text, err, diff)
			}
		} else if err == nil {
			t.Fatalf("%s has members: %v", text, got)
		}
		var want, elems []json.RawMessage
		if json.Unmarshal(text, &want) == nil && want != nil {
			for _, element := range elements(text) {
				elems = append(elems, element)
			}
			if diff := cmp.Diff(want, elems, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%s (-want, +got): %s", text, diff)
			}
		}
	})
}

// What is read of a request is its body's, and what is gathered is written at once.
func TestLittleIsCopied(t *testing.T) {
	const elements = 1 << 19
	body := []byte(fmt.Sprintf(`{"inputs":[{"name":"x","shape":[1,%d],"datatype":"INT64","data":[%s1]}]}`, elements, strings.Repeat("1,", elements-1)))
	allocated := func(do func()) int64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		do()
		runtime.ReadMemStats(&after)
		return int64(after.TotalAlloc - before.TotalAlloc)
	}
	var requests []*Request
	if took := allocated(func() {
		for range 2 {
			request, err := Parse(body)
			if err != nil {
				t.Fatal(err)
			}
			requests = append(requests, request)
		}
	}); took > 64<<10 {
		t.Errorf("reading two requests of %d bytes took %d", len(body), took)
	}
	var gathered []byte
	if took := allocated(func() { gathered, _ = Gather(requests) }); took > int64(3*len(body)) || len(gathered) < 2*elements {
		t.Errorf("gathering two of %d bytes to %d took %d", len(body), len(gathered), took)
	}
	if held := requests[0].Held(); held > 4<<10 {
		t.Errorf("%d bytes are held beside the body", held)
	}
}

// Blanks beside commas are no elements.
func TestBlanksBetweenRows(t *testing.T) {
	requests := []*Request{
		parse(t, "{\"inputs\": [ {\"name\": \"x\", \"shape\": [1, 2], \"data\": [ 1 ,\n2 ]} ] }"), parse(t, `{"inputs":[{"name":"x","shape":[2,2],"data":[3,4,5,6]}]}`),
	}
	gathered, err := Gather(requests)
	if err != nil {
		t.Fatal(err)
	}
	same(t, `{"inputs":[{"name":"x","shape":[3,2],"data":[1,2,3,4,5,6]}]}`, gathered)
	cut, err := Cut([]byte("{\"outputs\":[{\"name\":\"y\",\"shape\":[3],\"data\":[\t\"a,\\\"\" , \"]\" ,null ]}]}"), requests)
	if err != nil {
		t.Fatal(err)
	}
	same(t, `{"outputs":[{"name":"y","shape":[1],"data":["a,\""]}]}`, cut[0])
	same(t, `{"outputs":[{"name":"y","shape":[2],"data":["]",null]}]}`, cut[1])
}
