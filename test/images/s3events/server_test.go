package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// sink answers with each of its statuses in turn, and then with 202. It keeps what it was
// sent.
type sink struct {
	mu       sync.Mutex
	statuses []int
	tokens   []string
	events   []cloudevents.Event
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	event, err := cloudevents.NewEventFromHTTPRequest(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = append(s.tokens, r.Header.Get("Authorization"))
	if err == nil {
		s.events = append(s.events, *event)
	}
	status := http.StatusAccepted
	if len(s.statuses) > 0 {
		status, s.statuses = s.statuses[0], s.statuses[1:]
	}
	w.WriteHeader(status)
}

// to is a server that sends to a sink, with a token, unless it is "", and its log.
func to(t *testing.T, address, token string) (*server, *bytes.Buffer) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if token != "" {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	s, err := newServer(slog.New(slog.NewJSONHandler(&log, nil)), address, file)
	if err != nil {
		t.Fatal(err)
	}
	s.backoff = time.Millisecond
	return s, &log
}

// handed is what a server answers, once all that it has taken is sent or given up.
func handed(s *server, body []byte) (int, string) {
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body)))
	s.underWay.Wait()
	return w.Code, w.Body.String()
}

func TestRecordsAreSent(t *testing.T) {
	for _, tt := range []struct {
		name     string
		token    string
		statuses []int
		tries    int
		log      string
	}{
		{"with a token", "secret", nil, 1, `"msg":"sent"`},
		{"where nobody asks for one", "", nil, 1, `"msg":"sent"`},
		{"again, until they are taken", "secret", []int{503, 503, 429}, 4, `"msg":"sent"`},
		{"and given up", "secret", []int{503, 503, 503, 503, 503, 503, 503}, retries + 1, `"msg":"given up"`},
		{"and refused for good", "secret", []int{401}, 1, `"msg":"given up"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sink := &sink{statuses: tt.statuses}
			listener := httptest.NewServer(sink)
			defer listener.Close()
			s, log := to(t, listener.URL, tt.token)
			if status, said := handed(s, put(t)); status != http.StatusAccepted || said != "" {
				t.Errorf("it answered %d, %q", status, said)
			}
			if len(sink.events) != tt.tries || !strings.Contains(log.String(), tt.log) || !strings.Contains(log.String(), `"record":{"eventVersion"`) {
				t.Errorf("%d attempts, want %d; the log says %s", len(sink.events), tt.tries, log)
			}
			want := ""
			if tt.token != "" {
				want = "Bearer " + tt.token
			}
			for i, got := range sink.tokens {
				if got != want || sink.events[i].ID() != sink.events[0].ID() {
					t.Errorf("attempt %d came with %q, as event %s", i, got, sink.events[i].ID())
				}
			}
		})
	}
}

func TestWhatIsRefused(t *testing.T) {
	sink := &sink{}
	listener := httptest.NewServer(sink)
	defer listener.Close()
	s, _ := to(t, listener.URL, "")
	for _, tt := range []struct {
		name, body, says string
		status           int
	}{
		{"no notification", `{}`, "neither Records nor Event", http.StatusBadRequest},
		{"one that is too large", `{"Event": "` + strings.Repeat("x", maxNotification) + `"}`, "too large", http.StatusRequestEntityTooLarge},
	} {
		if status, said := handed(s, []byte(tt.body)); status != tt.status || !strings.Contains(said, tt.says) {
			t.Errorf("%s: %d, %q", tt.name, status, said)
		}
	}
	for range maxUnderWay {
		s.room <- struct{}{}
	}
	if status, said := handed(s, put(t)); status != http.StatusServiceUnavailable || !strings.Contains(said, "send it again later") {
		t.Errorf("without room: %d, %q", status, said)
	}
	if len(sink.events) > 0 {
		t.Errorf("the sink has %v", sink.events)
	}
}

// What was taken is sent before the process ends.
func TestServeDrains(t *testing.T) {
	sink, held, come := &sink{}, make(chan struct{}), make(chan struct{}, 1)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		come <- struct{}{}
		<-held
		sink.ServeHTTP(w, r)
	}))
	defer front.Close()
	s, _ := to(t, front.URL, "")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx, listener, time.Minute) }()
	answer, err := http.Post("http://"+listener.Addr().String()+"/", "application/json", bytes.NewReader(put(t)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	<-come
	stop()
	close(held)
	if err := <-ended; err != nil || len(sink.events) != 1 {
		t.Errorf("it ended with %v, and the sink has %d events", err, len(sink.events))
	}
}
