package eventing

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSenderSaysWhoItIs(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("signed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ token, want string }{
		"with a token": {token, "Bearer signed"},
		"without":      {token + "-that-is-not-there", ""},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan *http.Request, 1)
			broker := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r }))
			defer broker.Close()
			sender, err := newSender(func() (string, error) { return broker.URL, nil }, test.token)
			if err != nil {
				t.Fatal(err)
			}
			if err := sender.Send(t.Context(), build(t, NewRevisionScaled, scaled(nil))); err != nil {
				t.Fatal(err)
			}
			r := <-asked
			if got := r.Header.Get("Authorization"); got != test.want {
				t.Errorf("Authorization is %q, want %q", got, test.want)
			}
			if r.Header.Get("Ce-Time") == "" {
				t.Error("the event has no time, by which its way could be timed")
			}
		})
	}
}

func TestSenderSaysWhatTheBrokerRefused(t *testing.T) {
	broker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "who are you?", http.StatusUnauthorized)
	}))
	defer broker.Close()
	sender, err := newSender(func() (string, error) { return broker.URL, nil }, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := sender.Send(t.Context(), build(t, NewRevisionScaled, scaled(nil))); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("Send() = %v, want that it wasn't let in", err)
	}
}
