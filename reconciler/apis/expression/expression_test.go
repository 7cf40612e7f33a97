package expression

import (
	"bytes"
	stdjson "encoding/json"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"pgregory.net/rapid"
)

// upload is an event as a store sends it.
func upload(t testing.TB, data string) *Event {
	t.Helper()
	return Of(uploadWith(t, cloudevents.ApplicationJSON, data))
}

func uploadWith(t testing.TB, contentType, data string) cloudevents.Event {
	t.Helper()
	e := cloudevents.NewEvent()
	e.SetID("1")
	e.SetSource("/stores/a")
	e.SetType("store.object.created")
	e.SetSubject("in/a.jsonl")
	e.SetTime(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))
	e.SetExtension("tenant", "acme")
	e.SetExtension("size", 7)
	if data != "" {
		if err := e.SetData(contentType, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

const object = `{"bucket": "b", "key": "in/a b.jsonl", "size": 9007199254740993, "part": 0.5, "tags": ["x", "y"], "none": null}`

func TestText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                      "",
		"plain":                                 "plain",
		"${event.id}":                           "1",
		"runs/${event.id}/${event.subject}":     "runs/1/in/a.jsonl",
		"${event.data.bucket}":                  "b",
		"${string(event.data.size)}":            "9007199254740993",
		"${event.tenant}-${string(event.size)}": "acme-7",
		"${string(event.time)}":                 "2026-06-01T12:00:00Z",
		"${has(event.dataschema) ? event.dataschema : 'none'}": "none",
		"${event.?dataschema.orValue('none')}":                 "none",
		"${event.?data.?bucket.orValue('none')}":               "b",
		"${event.data.?absent.orValue('none')}":                "none",
		"${'}'}":                                               "}",
		"${\"a\\\"}\"}":                                        `a"}`,
		"${r'\\'}":                                             `\`,
		"${'''a'}b'''}":                                        "a'}b",
		"${{'a': 'x'}.a}":                                      "x",
		"$${event.id}":                                         "${event.id}",
		"a$${b${event.id}":                                     "a${b1",
		"${event.subject.split('/')[0]}":                       "in",
		"${base64.encode(b'ab')}":                              "YWI=",
		"/a?key=${urlEncode(event.data.key + '&b=c')}":         "/a?key=in%2Fa%20b.jsonl%26b%3Dc",
		"costs 5$ or $":                                        "costs 5$ or $",
	} {
		template, err := Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if err := template.CheckText(); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if got, err := template.Text(t.Context(), upload(t, object), 100); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
}

// What can't ever be right is told when it is compiled, with what would be.
func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	for text, remedy := range map[string]string{
		"${event.id":                   "without the } that ends it",
		"${}":                          "is empty",
		"${event.Id}":                  "undefined field 'Id'",
		"${event.subject_name}":        "undefined field 'subject_name'",
		"${evnt.id}":                   "undeclared reference to 'evnt'",
		"${event.id +}":                "Syntax error",
		"${1 + 1}":                     "write ${string(1 + 1)}",
		"${event.time}":                "write ${string(event.time)}",
		"a${['x']}":                    "choose what of it is meant",
		"${event.id.size() == 'x'}":    "no matching overload",
		strings.Repeat("x", MaxText+1): "at most 8192 bytes",
		strings.Repeat("${event.id}", MaxExpressions+1):                        "at most 32 expressions",
		"${" + strings.Repeat("(", 500) + "1" + strings.Repeat(")", 500) + "}": "recursion",
	} {
		template, err := Compile(text)
		if err == nil {
			err = template.CheckText()
		}
		if err == nil || !strings.Contains(err.Error(), remedy) {
			t.Errorf("%.60s: %v; want %q", text, err, remedy)
		}
	}
}

// What only the event can tell fails with its expression, and why.
func TestWhatFails(t *testing.T) {
	t.Parallel()
	for text, why := range map[string]string{
		"${event.data.absent}":  "no such key",
		"${event.data.size}":    "must be string",
		"${event.dataschema}":   `has no attribute "dataschema"; where it may lack it, ask has(event.dataschema) first`,
		"${event.other}":        `has no attribute "other"`,
		"${event.data.tags[2]}": "index out of bounds",
		"${[1,2,3,4,5,6,7,8,9].map(a, [1,2,3,4,5,6,7,8,9].map(b, [1,2,3,4,5,6,7,8,9].map(c, [1,2,3,4,5,6,7,8,9].map(d, [1,2,3,4,5,6,7,8,9].map(e, event.id + event.id))))).size() > 0 ? 'x' : 'y'}": "cost",
		"${event.data.bucket.replace('b', '0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789')}!":                                                "more than 100 bytes",
	} {
		template, err := Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if _, err := template.Text(t.Context(), upload(t, object), 100); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%.60s: %v; want %q", text, err, why)
		}
	}
}

func TestData(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ contentType, data, text, want, why string }{
		"JSON":                 {"application/json", `{"a": "x"}`, "${event.data.a}", "x", ""},
		"JSON of a kind":       {"application/vnd.a+json; charset=utf-8", `{"a": "x"}`, "${event.data.a}", "x", ""},
		"text is bytes":        {"text/plain", "abc", "${string(event.data)}", "abc", ""},
		"no JSON that is":      {"application/json", "{", "${event.data.a}", "", "isn't the JSON that its datacontenttype says"},
		"more than JSON":       {"application/json", "1 2", "${string(event.data)}", "", "more behind the JSON"},
		"none":                 {"application/json", "", "${event.data.a}", "", "has no data"},
		"none, which is asked": {"application/json", "", "${has(event.data) ? 'x' : 'y'}", "y", ""},
		"bytes have no fields": {"application/octet-stream", "abc", "${event.data.a}", "", "event.data.a"},
	} {
		template, err := Compile(c.text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := template.Text(t.Context(), Of(uploadWith(t, c.contentType, c.data)), 100)
		if got != c.want || (err == nil) != (c.why == "") || (err != nil && !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s: %q, %v; want %q, %q", name, got, err, c.want, c.why)
		}
	}
}

func TestBody(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Body{
		"${event.data}":              {[]byte(`{"bucket":"b","key":"in/a b.jsonl","none":null,"part":0.5,"size":9007199254740993,"tags":["x","y"]}`), json},
		"${event.data.tags}":         {[]byte(`["x","y"]`), json},
		"${event.data.key}":          {[]byte("in/a b.jsonl"), plain},
		"${event.data.part}":         {[]byte("0.5"), json},
		"${b'ab'}":                   {[]byte("ab"), octets},
		"${{'text': event.subject}}": {[]byte(`{"text":"in/a.jsonl"}`), json},
		"${ {'at': event.time, 'raw': b'ab', 'n': null, 'yes': true, 'u': 1u} }": {[]byte(`{"at":"2026-06-01T12:00:00Z","n":null,"raw":"YWI=","u":1,"yes":true}`), json},
		`{"text": "${event.subject}"}`:                                           {[]byte(`{"text": "in/a.jsonl"}`), json},
		"score ${event.subject}":                                                 {[]byte("score in/a.jsonl"), plain},
		"":                                                                       {[]byte{}, plain},
	} {
		template, err := Compile(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if err := template.CheckBody(); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		got, err := template.Body(t.Context(), upload(t, object), 1000)
		if err != nil || !bytes.Equal(got.Content, want.Content) || got.ContentType != want.ContentType {
			t.Errorf("%s: %s, %s, %v; want %s, %s", text, got.Content, got.ContentType, err, want.Content, want.ContentType)
		}
	}
}

// A whole event is JSON, too.
func TestBodyOfAWholeEvent(t *testing.T) {
	t.Parallel()
	template, err := Compile("${event}")
	if err != nil {
		t.Fatal(err)
	}
	got, err := template.Body(t.Context(), upload(t, `{"a": 1}`), 1000)
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := stdjson.Unmarshal(got.Content, &all); err != nil {
		t.Fatal(err)
	}
	if all["id"] != "1" || all["tenant"] != "acme" || !reflect.DeepEqual(all["data"], map[string]any{"a": 1.0}) {
		t.Errorf("%s", got.Content)
	}
}

// Lists that hold the same one twice, over and over, cost little and would come to much.
func TestWhatABodyComesToIsBounded(t *testing.T) {
	t.Parallel()
	text := "${[event.data]" + strings.Repeat(".map(x, [x, x])", 60) + "}"
	template, err := Compile(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := template.Body(t.Context(), upload(t, object), 1<<16); err == nil || !strings.Contains(err.Error(), "more bytes") {
		t.Errorf("%v", err)
	}
}

func TestBodiesThatAreNoJSON(t *testing.T) {
	t.Parallel()
	for text, why := range map[string]string{
		"${{1: 'a'}}":   "keys that aren't strings",
		"${1.0 / 0.0}":  "which JSON hasn't",
		"${[event.?a]}": "can't be written as JSON",
	} {
		template, err := Compile(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if _, err := template.Body(t.Context(), upload(t, object), 1000); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v; want %q", text, err, why)
		}
	}
}

// Whatever a text is, compiling it ends with an error or with what can be evaluated; what has no
// expression is itself.
func TestAnyText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"${", "$${", "}", "{", "'", `"`, `\`, "event.id", " ", "a", "$", "r", "[", "]", "1", "'''"}), 0, 12).Draw(t, "parts")
		text := strings.Join(parts, "")
		template, err := Compile(text)
		if !Has(text) && err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if err != nil {
			return
		}
		got, err := template.Text(t.Context(), &Event{attributes: map[string]any{"id": "1"}}, 1000)
		if !strings.Contains(text, "${") && (err != nil || got != text) {
			t.Fatalf("%q came to %q, %v", text, got, err)
		}
	})
}

// What is encoded is one part of a path and one value of a parameter, whatever it has.
func TestURLEncode(t *testing.T) {
	t.Parallel()
	template, err := Compile("/a/${urlEncode(event.id)}/b?of=${urlEncode(event.id)}&c=d")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[-/?&=;+%#@: .~a]*`)).Draw(t, "text")
		got, err := template.Text(t.Context(), &Event{attributes: map[string]any{"id": text}}, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := url.ParseRequestURI(got)
		if err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		parts := strings.Split(parsed.EscapedPath(), "/")
		if of := parsed.Query(); len(of) != 2 || of.Get("of") != text || of.Get("c") != "d" {
			t.Fatalf("%q has the parameters %v", got, of)
		}
		if len(parts) != 4 || parsed.Path != "/a/"+text+"/b" || strings.ContainsAny(parts[2], ";/+") {
			t.Fatalf("%q has the path %q", got, parts)
		}
	})
}

// JSON goes through an expression unchanged, its whole numbers exactly.
func TestJSONStays(t *testing.T) {
	t.Parallel()
	template, err := Compile("${event.data}")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		value := map[string]any{
			"n": rapid.Int64().Draw(t, "n"), "s": rapid.String().Draw(t, "s"), "f": rapid.Float64Range(-1e300, 1e300).Draw(t, "f"),
			"l": rapid.SliceOfN(rapid.Bool(), 0, 3).Draw(t, "l"),
		}
		content, err := stdjson.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		body, err := template.Body(t.Context(), &Event{data: content, isJSON: true}, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if want, got := exact(t, content), exact(t, body.Content); !reflect.DeepEqual(want, got) {
			t.Fatalf("%s has become %s", content, body.Content)
		}
	})
}

func exact(t *rapid.T, content []byte) any {
	value, err := decode(content)
	if err != nil {
		t.Fatal(err)
	}
	return value
}
