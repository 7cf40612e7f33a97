package answers

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
)

// Large bodies are read a few at a time, small ones beside them; nobody waits longer than it may.
func TestRoom(t *testing.T) {
	const small, bound = 4, 8
	room := NewRoom(small, 1, 1)
	body, release, err := room.Read(t.Context(), "a", strings.NewReader(strings.Repeat("x", 100)), bound)
	if err != nil || len(body) != bound+1 || release == nil {
		t.Fatalf("%d bytes, released: %t, %v; want a byte more than the bound", len(body), release == nil, err)
	}
	if body, release, err := room.Read(t.Context(), "a", strings.NewReader("xyz"), bound); err != nil || string(body) != "xyz" || release != nil {
		t.Errorf("a small one beside it: %q, took room: %t, %v", body, release != nil, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	for _, owner := range []string{"a", "b"} {
		if _, release, err := room.Read(ended, owner, strings.NewReader("xxxx"), bound); !errors.Is(err, context.Canceled) || release != nil {
			t.Errorf("without room, %s: %v, took some: %t", owner, err, release != nil)
		}
	}
	release()
	release()
	for range 2 {
		body, release, err := room.Read(t.Context(), "b", strings.NewReader("xxxxx"), bound)
		if err != nil || string(body) != "xxxxx" {
			t.Fatalf("%q, %v", body, err)
		}
		release()
	}
	if len(room.lanes) != 0 {
		t.Errorf("kept: %v", room.lanes)
	}
}

// Who has his part of the room waits while there is room for another.
func TestOwnersHaveAPartOfTheRoom(t *testing.T) {
	const small, bound = 4, 8
	room := NewRoom(small, 4, 2)
	take := func(ctx context.Context, owner string) (func(), error) {
		_, release, err := room.Read(ctx, owner, strings.NewReader("xxxxx"), bound)
		return release, err
	}
	var held []func()
	for _, owner := range []string{"a", "a", "b", "b"} {
		release, err := take(t.Context(), owner)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, release)
	}
	held[2]()
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := take(ended, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("a third one of a: %v", err)
	}
	release, err := take(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range append(held, release) {
		release()
	}
	if len(room.lanes) != 0 || len(room.large) != 0 {
		t.Errorf("kept: %v, %d places", room.lanes, len(room.large))
	}
}

// What the gateway says of itself is told from a 404 of whoever is behind it.
func TestUnrouted(t *testing.T) {
	header := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	for name, tt := range map[string]struct {
		status int
		length int64
		header http.Header
		want   bool
	}{
		"the gateway's":          {http.StatusNotFound, 0, header("Server", "istio-envoy"), true},
		"a Model's":              {http.StatusNotFound, 0, header("Server", "istio-envoy", "X-Envoy-Upstream-Service-Time", "0"), false},
		"with a body":            {http.StatusNotFound, 9, header("Server", "istio-envoy"), false},
		"of who knows how much":  {http.StatusNotFound, -1, header("Server", "istio-envoy"), false},
		"of another server":      {http.StatusNotFound, 0, header("Server", "nginx"), false},
		"of a server of no name": {http.StatusNotFound, 0, header(), false},
		"no 404":                 {http.StatusServiceUnavailable, 0, header("Server", "istio-envoy"), false},
	} {
		if got := Unrouted(&http.Response{StatusCode: tt.status, ContentLength: tt.length, Header: tt.header}); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
