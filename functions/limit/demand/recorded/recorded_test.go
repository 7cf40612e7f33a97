package recorded

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// answers are those of a limiter, one after the other; the last one stands.
type answers struct {
	list  []answer
	asked []*http.Request
}

type answer struct {
	status     int
	body       string
	retryAfter string
	err        error
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	next := a.list[min(len(a.asked), len(a.list)-1)]
	a.asked = append(a.asked, r)
	if next.err != nil {
		return nil, next.err
	}
	header := http.Header{}
	if next.retryAfter != "" {
		header.Set("Retry-After", next.retryAfter)
	}
	return &http.Response{StatusCode: next.status, Status: http.StatusText(next.status), Header: header, Body: io.NopCloser(strings.NewReader(next.body)), Request: r}, nil
}

func TestOf(t *testing.T) {
	ok := answer{status: http.StatusOK, body: "time,requests\n1700000000,3\n1700000001,4\n"}
	standby := answer{status: http.StatusServiceUnavailable, body: "another replica leads\n"}
	for name, c := range map[string]struct {
		answers []answer
		want    []float32
		says    string
		none    bool
		asked   int
		took    time.Duration
	}{
		"told":                       {answers: []answer{ok}, want: []float32{3, 4}, asked: 1},
		"by another replica":         {answers: []answer{standby, ok}, want: []float32{3, 4}, asked: 2, took: againAfter},
		"when there is a turn":       {answers: []answer{{status: http.StatusTooManyRequests, retryAfter: "1"}, ok}, want: []float32{3, 4}, asked: 2, took: time.Second},
		"not later than is bearable": {answers: []answer{{status: http.StatusTooManyRequests, retryAfter: "3600"}, ok}, want: []float32{3, 4}, asked: 2, took: mostAgain},
		"after a broken connection":  {answers: []answer{{err: errors.New("reset")}, ok}, want: []float32{3, 4}, asked: 2, took: againAfter},
		"none leads":                 {answers: []answer{standby}, says: "another replica leads", asked: attempts, took: (attempts - 1) * againAfter},
		"nothing is recorded":        {answers: []answer{{status: http.StatusNotFound, body: "no demand of Model m is recorded\n"}}, says: "no demand of Model m is recorded", none: true, asked: 1},
		"it may not know":            {answers: []answer{{status: http.StatusForbidden, body: "ask from there"}}, says: "Forbidden: ask from there", asked: 1},
		"nonsense":                   {answers: []answer{{status: http.StatusOK, body: "1,2,x\n"}}, says: "reading the demand: line 1", asked: 1},
	} {
		t.Run(name, func(t *testing.T) {
			token := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				to := &answers{list: c.answers}
				l := New("http://limiter/", token)
				l.client.Transport, l.client.Timeout = to, 0
				began := time.Now()
				got, err := l.Of(t.Context(), types.NamespacedName{Namespace: "n", Name: "m"})
				if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) || errors.Is(err, ErrNone) != c.none {
					t.Errorf("Of() = %v, want %q", err, c.says)
				}
				if !slices.Equal(got.Seconds, c.want) || len(to.asked) != c.asked || time.Since(began) != c.took {
					t.Errorf("%v after %d questions and %s, want %v after %d and %s", got.Seconds, len(to.asked), time.Since(began), c.want, c.asked, c.took)
				}
				if r := to.asked[0]; r.URL.String() != "http://limiter/v1/demand/n/m" || r.Header.Get("Authorization") != "Bearer secret" {
					t.Errorf("asked %s as %q", r.URL, r.Header.Get("Authorization"))
				}
			})
		})
	}
}

func TestOfEndsWithItsContext(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		l := New("http://limiter", token)
		l.client.Transport, l.client.Timeout = &answers{list: []answer{{status: http.StatusServiceUnavailable}}}, 0
		ctx, cancel := context.WithTimeout(t.Context(), againAfter/2)
		defer cancel()
		began := time.Now()
		if _, err := l.Of(ctx, types.NamespacedName{Namespace: "n", Name: "m"}); err == nil || time.Since(began) != againAfter/2 {
			t.Errorf("Of() = %v after %s", err, time.Since(began))
		}
	})
	if _, err := New("http://limiter", token+"-none").Of(t.Context(), types.NamespacedName{}); err == nil || !strings.Contains(err.Error(), "reading the token") {
		t.Errorf("without a token: %v", err)
	}
}
