package oip

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// A request that warms up after others tells that those came too early.
func TestWarmth(t *testing.T) {
	t.Parallel()
	var w warmth
	for i, step := range []struct {
		warmUp, early bool
		want          warmthCounts
	}{
		{true, false, warmthCounts{1, 0, 0}},
		{true, false, warmthCounts{2, 0, 0}},
		{false, false, warmthCounts{2, 1, 0}},
		{false, false, warmthCounts{2, 2, 0}},
		{true, true, warmthCounts{3, 2, 2}},
		{true, false, warmthCounts{4, 2, 2}},
		{false, false, warmthCounts{4, 3, 2}},
	} {
		request := httptest.NewRequest(http.MethodPost, "/v2/models/ranker/infer", http.NoBody)
		if step.warmUp {
			request.Header.Set(warmUpHeader, "true")
		}
		if counts, early := w.count(request); counts != step.want || early != step.early {
			t.Errorf("step %d: %+v, %t; want %+v", i, counts, early, step)
		}
	}
}

// Answers say which replica served them, and as its how manyth.
func TestAnswersTellTheReplica(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.config.Replica = "ranker-0"
	send(s, http.MethodPost, inferPath, "")
	got := send(s, http.MethodPost, inferPath, string(read(t, "request.json"))).Header()
	if got.Get(replicaHeader) != "ranker-0" || got.Get(servedHeader) != "2" {
		t.Errorf("headers %v", got)
	}
}
