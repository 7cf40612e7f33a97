package stores

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Each store is found by the environment, which says what is missing where it isn't.
func TestFindStoresOfObservability(t *testing.T) {
	answering := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer answering.Close()
	opening := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer opening.Close()
	failing := filepath.Join(t.TempDir(), "cluster")
	if err := os.WriteFile(failing, []byte("#!/bin/sh\necho no room for $2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SLUICE_JAEGER_OTLP", "127.0.0.1:1")
	for variable, find := range map[string]func(context.Context) error{
		"SLUICE_PROMETHEUS":      func(ctx context.Context) error { _, err := FindPrometheus(ctx); return err },
		"SLUICE_VICTORIAMETRICS": func(ctx context.Context) error { _, err := FindVictoriaMetrics(ctx); return err },
		"SLUICE_VICTORIALOGS":    func(ctx context.Context) error { _, err := FindVictoriaLogs(ctx); return err },
		"SLUICE_JAEGER":          func(ctx context.Context) error { _, err := FindJaeger(ctx); return err },
	} {
		store := strings.ToLower(strings.TrimPrefix(variable, "SLUICE_"))
		for _, tt := range []struct{ name, at, cluster, err string }{
			{"one that answers", answering.URL, failing, ""},
			{"nothing is named", "", failing, variable},
			{"nobody answers", "http://" + unused(t), "", "SLUICE_CLUSTER names nothing"},
			{"it opens still, and can't be brought up", opening.URL, failing, "no room for " + store},
		} {
			t.Run(store+": "+tt.name, func(t *testing.T) {
				t.Setenv(variable, tt.at)
				t.Setenv("SLUICE_CLUSTER", tt.cluster)
				if err := find(t.Context()); (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
			})
		}
	}
}

// saying is a store that answers each query so.
func saying(t *testing.T, status int, answer string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestMetricsAreRead(t *testing.T) {
	one := `{"metric":{"job":"a"},"value":[1700000000.5,"7.5"]}`
	for _, tt := range []struct {
		name, answer string
		status       int
		value        float64
		there        bool
		err          string
	}{
		{"a number", `{"status":"success","data":{"resultType":"vector","result":[` + one + `]}}`, http.StatusOK, 7.5, true, ""},
		{"none", `{"status":"success","data":{"resultType":"vector","result":[]}}`, http.StatusOK, 0, false, ""},
		{"two", `{"status":"success","data":{"resultType":"vector","result":[` + one + `,` + one + `]}}`, http.StatusOK, 0, false, "several answers"},
		{"a matrix", `{"status":"success","data":{"resultType":"matrix","result":[]}}`, http.StatusOK, 0, false, "not a vector"},
		{"no number", `{"status":"success","data":{"resultType":"vector","result":[{"value":[1,2]}]}}`, http.StatusOK, 0, false, "the value [1 2]"},
		{"a wrong query", `{"status":"error","error":"parse error"}`, http.StatusBadRequest, 0, false, "parse error"},
		{"a page", `<html>`, http.StatusOK, 0, false, "reading the answer"},
	} {
		store := Metrics{URL: saying(t, tt.status, tt.answer)}
		value, there, err := store.Number(t.Context(), "up")
		if value != tt.value || there != tt.there || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %g, %t, %v", tt.name, value, there, err)
		}
	}
}

func TestLogsAreRead(t *testing.T) {
	store := Logs{URL: saying(t, http.StatusOK, "{\"code\":\"200\",\"n\":\"8\"}\n{\"code\":\"429\",\"n\":\"2\"}\n")}
	rows, err := store.Query(t.Context(), "*", 10)
	if err != nil || len(rows) != 2 || rows[1]["code"] != "429" || rows[0]["n"] != "8" {
		t.Errorf("%v, %v", rows, err)
	}
	store.URL = saying(t, http.StatusOK, "{\"code\":\"200\"}\n{\"co")
	if _, err := store.Query(t.Context(), "*", 10); err == nil || !strings.Contains(err.Error(), "row 2") {
		t.Errorf("of an answer cut in half: %v", err)
	}
}

func TestTracesAreRead(t *testing.T) {
	store := Traces{URL: saying(t, http.StatusOK, `{"data":[{"spans":[
		{"spanID":"b","operationName":"inner","references":[{"refType":"CHILD_OF","spanID":"a"}],"startTime":2000,"duration":5,"processID":"p1"},
		{"spanID":"a","operationName":"outer","references":[],"startTime":1000,"duration":9000,"tags":[{"key":"sluice.model","value":"ranker"}],"processID":"p1"}],
		"processes":{"p1":{"serviceName":"gateway"}}}]}`)}
	spans, err := store.Trace(t.Context(), "0")
	if err != nil || len(spans) != 2 || spans[0].Operation != "outer" || spans[1].Parent != "a" || spans[0].Service != "gateway" ||
		spans[0].Lasted != 9*time.Millisecond || spans[0].Tags["sluice.model"] != "ranker" {
		t.Errorf("%+v, %v", spans, err)
	}
	store.URL = saying(t, http.StatusNotFound, `{"errors":[{"code":404,"msg":"trace not found"}]}`)
	if spans, err := store.Trace(t.Context(), "0"); err != nil || len(spans) > 0 {
		t.Errorf("of none: %v, %v", spans, err)
	}
	store.URL = saying(t, http.StatusBadRequest, `{"errors":[{"code":400,"msg":"cannot parse"}]}`)
	if _, err := store.Trace(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "cannot parse") {
		t.Errorf("of no id: %v", err)
	}
}
