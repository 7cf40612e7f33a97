package stack

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/hack/cluster/internal/plan"
)

// A store is started where it is asked for, with the little of the stack that it needs.
func TestStoresAreStartedByName(t *testing.T) {
	s := newStack(t)
	stack, err := plan.New(s.Steps())
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range s.stores() {
		if slices.Contains(stack.Names(), st.name) {
			t.Errorf("the stack starts %s", st.name)
		}
		names := planned(t, s, st.name)
		if names[len(names)-1] != st.name {
			t.Errorf("of %v, %s isn't the last", names, st.name)
		}
		for _, other := range everything(s) {
			if other.name != st.name && slices.Contains(names, other.name) {
				t.Errorf("%s starts %s", st.name, other.name)
			}
		}
		if st.binary != nil && !slices.Contains(names, build(*st.binary)) {
			t.Errorf("of %v, nothing builds %s", names, st.name)
		}
		for _, tool := range st.tools {
			if !slices.Contains(names, build(tool)) {
				t.Errorf("of %v, nothing builds %s", names, tool.Name)
			}
		}
		w, err := s.wanted([]string{st.name})
		if err != nil || len(w.components) != 1 || len(w.bundles) > 0 || len(w.binaries) > 1+len(st.tools) {
			t.Errorf("%s wants %+v, %v", st.name, w, err)
		}
	}
	if names := planned(t, s, "versitygw", "kafka"); !slices.Contains(names, "versitygw") || !slices.Contains(names, "kafka") {
		t.Errorf("of both, %v are started", names)
	}
}

// planned are the steps that start stores.
func planned(t *testing.T, s *Stack, stores ...string) []string {
	t.Helper()
	steps, err := s.StoreSteps(stores)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(steps)
	if err != nil {
		t.Fatal(err)
	}
	return p.Names()
}

func TestOnlyStoresAreStartedByName(t *testing.T) {
	for _, name := range []string{"minio", "etcd", ""} {
		if _, err := newStack(t).StoreSteps([]string{name}); err == nil || !strings.Contains(err.Error(), "versitygw, kafka") {
			t.Errorf("starting %q by name: %v", name, err)
		}
	}
}

// What was asked for is shown from then on, up or not.
func TestStoresAreShownOnceAskedFor(t *testing.T) {
	s := newStack(t)
	if begun := s.begun(); len(begun) > 0 {
		t.Errorf("begun are %v", begun)
	}
	var before bytes.Buffer
	s.Status(t.Context(), &before)
	if err := os.MkdirAll(s.layout.Pids(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.layout.Pids(), "versitygw"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var after bytes.Buffer
	s.Status(t.Context(), &after)
	if strings.Contains(before.String(), "versitygw") || !strings.Contains(after.String(), "versitygw") || strings.Contains(after.String(), "kafka") {
		t.Errorf("before:\n%s\nafter:\n%s", &before, &after)
	}
}

func TestEnvNamesTheStores(t *testing.T) {
	s := newStack(t)
	env := s.Env()
	for _, want := range []string{
		"export SLUICE_S3_ENDPOINT='http://" + objectStore + "'\n", "export SLUICE_KAFKA_BROKER='" + broker + "'\n",
		"export SLUICE_KAFKA_TLS_BROKER='" + brokerTLS + "'\n", "export SLUICE_KAFKA_CA='" + s.layout.Cert("ca") + "'\n",
		"export SLUICE_PROMETHEUS='http://10.88.0.1:9490'\n", "export SLUICE_VICTORIALOGS='http://10.88.0.1:9428'\n",
		"export SLUICE_VICTORIAMETRICS='http://10.88.0.1:8428'\n",
		"export SLUICE_JAEGER='http://10.88.0.1:16686'\n", "export SLUICE_JAEGER_OTLP='10.88.0.1:14317'\n",
		"export SLUICE_CLUSTER='" + filepath.Join(s.layout.Checkout, "hack/cluster/cluster") + "'\n",
	} {
		if !strings.Contains(env, want) {
			t.Errorf("%q isn't in:\n%s", want, env)
		}
	}
}

// answering is a connection on which an answer waits.
type answering struct {
	io.Reader
	bytes.Buffer
}

func (a *answering) Read(into []byte) (int, error) { return a.Reader.Read(into) }

func TestAskBroker(t *testing.T) {
	answer := func(length, correlation int32, code int16, known int32) string {
		var out bytes.Buffer
		for _, field := range []any{length, correlation, code, known} {
			if err := binary.Write(&out, binary.BigEndian, field); err != nil {
				t.Fatal(err)
			}
		}
		return out.String()
	}
	for _, tt := range []struct{ name, answer, err string }{
		{"a broker", answer(10+6*50, 1, 0, 50), ""},
		{"one that refuses", answer(10, 1, 35, 0), "error code 35"},
		{"one that knows nothing", answer(10, 1, 0, 0), "knows no request"},
		{"a web server", "HTTP/1.1 400 Bad Request\r\n", "no broker"},
		{"an answer to somebody else", answer(310, 2, 0, 50), "no broker"},
		{"silence", "", "reading the broker's answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			connection := &answering{Reader: strings.NewReader(tt.answer)}
			err := askBroker(connection)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
			sent := connection.Bytes()
			if length := binary.BigEndian.Uint32(sent); int(length) != len(sent)-4 {
				t.Errorf("a request of %d bytes is said to have %d", len(sent)-4, length)
			}
		})
	}
}
