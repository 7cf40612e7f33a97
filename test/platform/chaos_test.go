package platform

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestChaos(t *testing.T) {
	var got []string
	limiter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.Header.Get("Ce-Id")+string(body))
		if string(body) == "5" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer limiter.Close()
	c := &Chaos{To: limiter.URL}
	for i := range 8 {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strconv.Itoa(i+1)))
		r.Header.Set("Ce-Id", "e")
		w := httptest.NewRecorder()
		if c.ServeHTTP(w, r); w.Code != http.StatusAccepted {
			t.Errorf("event %d: %d", i+1, w.Code)
		}
	}
	if want := strings.Split("e1,e1,e3,e2,e5,e5,e7,e6", ","); !slices.Equal(got, want) {
		t.Errorf("delivered %v, want %v", got, want)
	}
	seen, refused := c.Seen()
	if want := (Deliveries{Events: 8, Swallowed: 2, Doubled: 2, Behind: 2}); seen != want || !seen.Raged(2) || seen.Raged(3) {
		t.Errorf("%+v, want %+v", seen, want)
	}
	if want := []string{"403 Forbidden", "403 Forbidden"}; !slices.Equal(refused, want) {
		t.Errorf("refused %q, want %q", refused, want)
	}

	got = nil
	c.Again()
	slices.Sort(got)
	if want := strings.Fields("e1 e2 e3 e4 e5 e6 e7 e8"); !slices.Equal(got, want) {
		t.Errorf("again %v, want all", got)
	}
	if seen, _ := c.Seen(); seen.Again != 8 {
		t.Errorf("%d came again", seen.Again)
	}
}

// However many events there are, few are kept.
func TestChaosKeepsFew(t *testing.T) {
	c := &Chaos{To: "http://127.0.0.1:0"}
	for range 3 * chaosKeeps {
		c.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}")))
	}
	if _, refused := c.Seen(); len(c.kept) != chaosKeeps || len(refused) != chaosKeeps {
		t.Errorf("%d events and %d reasons are kept", len(c.kept), len(refused))
	}
}
