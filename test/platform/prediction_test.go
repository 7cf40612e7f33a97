package platform

import (
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
)

func TestPredictionsAreCompared(t *testing.T) {
	text, err := os.ReadFile("../images/ranker/testdata/response.json")
	if err != nil {
		t.Fatal(err)
	}
	want, err := ParsePrediction(text)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParsePrediction([]byte(`{"model_name":"ranker","outputs":[
		{"name":"score","datatype":"FP32","shape":[4],"data":[0.1431902,0.058197856,0.97954404,0.020173073]},
		{"name":"order","datatype":"INT64","shape":[4],"data":[2,0,1,3]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if d := got.Difference(want); d <= 0 || d > 1e-5 {
		t.Errorf("difference %g, want one of rounding", d)
	}
	got.Order = []float64{0, 2, 1, 3}
	if d := got.Difference(want); !math.IsInf(d, 1) {
		t.Errorf("difference of another order %g, want +Inf", d)
	}
	if _, err := ParsePrediction([]byte(`{"error": "no"}`)); err == nil {
		t.Error("an answer without outputs was taken for a prediction")
	}
}

func TestPostReachesTheAddressWithTheHost(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte(r.Method + " " + r.Host + r.URL.Path))
	}))
	defer server.Close()
	endpoint := Endpoint{Address: server.Listener.Addr().String(), Host: "ranker.demo.example.com"}
	status, body, took, err := endpoint.Post(t.Context(), InferPath, []byte("{}"))
	if err != nil || status != http.StatusAccepted || string(body) != "POST ranker.demo.example.com/v2/models/ranker/infer" || took <= 0 {
		t.Errorf("status %d, %q, %v, error %v", status, body, took, err)
	}
}
