package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// shelf is a store that has what was put in it as a whole.
type shelf struct {
	mu      sync.Mutex
	objects map[string]string
	hosts   map[string]bool
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[r.Host] = true
	if err == nil {
		s.objects[r.URL.Path] = string(content)
	}
	w.WriteHeader(http.StatusOK)
}

func (s *shelf) has(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.objects[key]
	return ok
}

func stand(t *testing.T) (*interceptor, *shelf, string) {
	t.Helper()
	s := &shelf{objects: map[string]string{}, hosts: map[string]bool{}}
	store := httptest.NewServer(s)
	t.Cleanup(store.Close)
	g, err := newInterceptor(store.URL)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(g)
	t.Cleanup(front.Close)
	return g, s, front.URL
}

func put(ctx context.Context, url, content string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(content))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// What is held is in the store only once it has all of it, and comes there once it is
// released; a putter that goes away meanwhile leaves nothing.
func TestInterceptor(t *testing.T) {
	content := strings.Repeat("0123456789", 20_000)
	for _, tt := range []struct {
		at    stretch
		there bool
	}{{arriving, false}, {halfway, false}, {stored, true}} {
		t.Run(string(tt.at), func(t *testing.T) {
			g, s, front := stand(t)
			for _, goesAway := range []bool{true, false} {
				trap := g.set("results/1", tt.at)
				ctx, leave := context.WithCancel(t.Context())
				done := make(chan error, 1)
				key := map[bool]string{true: "/away/results/1", false: "/stays/results/1"}[goesAway]
				go func() { done <- put(ctx, front+key, content) }()
				waiting, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := trap.wait(waiting); err != nil {
					t.Fatal(err)
				}
				if s.has(key) != tt.there || g.since(key).IsZero() == tt.there {
					t.Errorf("held: in the store is %t, since %s", s.has(key), g.since(key))
				}
				if goesAway {
					leave()
				}
				if !goesAway {
					trap.release()
				}
				if err := <-done; (err != nil) != goesAway {
					t.Errorf("it goes away is %t, and: %v", goesAway, err)
				}
				leave()
				if goesAway {
					trap.release()
				}
				if want := tt.there || !goesAway; s.has(key) != want {
					t.Errorf("goes away is %t: in the store is %t", goesAway, s.has(key))
				}
			}
			if got := s.objects["/stays/results/1"]; got != content {
				t.Errorf("%d bytes came", len(got))
			}
			if !s.hosts[strings.TrimPrefix(front, "http://")] {
				t.Errorf("requests came for %v", s.hosts)
			}
		})
	}
}

// What is cut doesn't come to the store, though it may all lie in buffers.
func TestWhatIsCutNeverComes(t *testing.T) {
	for _, at := range []stretch{arriving, halfway} {
		i, s, front := stand(t)
		trap := i.set("results/1", at)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = put(t.Context(), front+"/results/1", "whole and small") // what comes of it is seen in the store
		}()
		if err := trap.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		trap.cut()
		trap.release()
		<-done
		if s.has("/results/1") || !i.since("/results/1").IsZero() {
			t.Errorf("%s: it came", at)
		}
	}
}

// A trap holds one object; others pass.
func TestTrapHoldsOne(t *testing.T) {
	g, s, front := stand(t)
	trap := g.set("results/1", arriving)
	trap.release()
	for _, key := range []string{"/results/2", "/results/1", "/results/1"} {
		if err := put(t.Context(), front+key, "x"); err != nil || !s.has(key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	select {
	case <-trap.sprung:
	default:
		t.Error("nothing was held")
	}
	if g.take("/results/1") != nil {
		t.Error("it would hold another")
	}
}
