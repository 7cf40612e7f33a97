package answers

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// Large bodies are read a few at a time, small ones beside them; nobody waits longer than it may.
func TestRoom(t *testing.T) {
	const small, bound = 4, 8
	room := NewRoom(small, 1)
	body, release, err := room.Read(t.Context(), strings.NewReader(strings.Repeat("x", 100)), bound)
	if err != nil || len(body) != bound+1 || release == nil {
		t.Fatalf("%d bytes, released: %t, %v; want a byte more than the bound", len(body), release == nil, err)
	}
	if body, release, err := room.Read(t.Context(), strings.NewReader("xyz"), bound); err != nil || string(body) != "xyz" || release != nil {
		t.Errorf("a small one beside it: %q, took room: %t, %v", body, release != nil, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, release, err := room.Read(ended, strings.NewReader("xxxx"), bound); !errors.Is(err, context.Canceled) || release != nil {
		t.Errorf("without room: %v, took some: %t", err, release != nil)
	}
	release()
	release()
	for range 2 {
		body, release, err := room.Read(t.Context(), strings.NewReader("xxxxx"), bound)
		if err != nil || string(body) != "xxxxx" {
			t.Fatalf("%q, %v", body, err)
		}
		release()
	}
}
