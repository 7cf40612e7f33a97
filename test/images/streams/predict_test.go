package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestPredict(t *testing.T) {
	s := start(t, time.Second)
	ask := func(query, mark, body string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.address+"/predict"+query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if mark != "" {
			request.Header.Set(markHeader, mark)
		}
		answer, err := client(t, 1).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		content, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, strings.TrimSpace(string(content))
	}
	const two = `[{"name":"item","datatype":"INT64","shape":[2,1],"data":[7,8]}]`
	if status, got := ask("", "nightly", `{"id":"item-7","inputs":`+two+`}`); status != http.StatusOK || got != `{"id":"item-7","outputs":`+two+`}` {
		t.Errorf("%d %s", status, got)
	}
	began := time.Now()
	if status, _ := ask("?seconds=0.05", "", `{"inputs":`+two+`}`); status != http.StatusOK || time.Since(began) < 50*time.Millisecond {
		t.Errorf("%d after %s", status, time.Since(began))
	}
	if status, got := ask("", "nightly", strings.Replace(`{"inputs":`+two+`}`, "8", "-8", 1)); status != http.StatusBadRequest || !strings.Contains(got, "below zero") {
		t.Errorf("%d %s", status, got)
	}
	if status, _ := ask("", "nightly", "no JSON"); status != http.StatusBadRequest {
		t.Errorf("what is no request: %d", status)
	}
	if status, _ := ask("?seconds=long", "", "{}"); status != http.StatusBadRequest {
		t.Errorf("no number of seconds: %d", status)
	}
	var counted struct{ Batch, Others int }
	_, told := s.read(t, 1, "/predicted")
	if err := json.Unmarshal(told, &counted); err != nil || counted.Batch != 2 || counted.Others != 1 {
		t.Errorf("%s, %v; want 2 of batches and one other", told, err)
	}
}
