package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// started is a server that was told nothing yet.
type started struct {
	address string
	// stop is SIGTERM.
	stop context.CancelFunc
	// ended has what serve returned.
	ended <-chan error
}

func start(t *testing.T, drain time.Duration) started {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	ended := make(chan error, 1)
	go func() { ended <- newServer(slog.New(slog.DiscardHandler), 0).serve(ctx, listener, drain) }()
	return started{address: listener.Addr().String(), stop: stop, ended: ended}
}

// client speaks HTTP/1.1 or HTTP/2, whichever major version is given.
func client(t *testing.T, major int) *http.Client {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(major == 1)
	protocols.SetUnencryptedHTTP2(major == 2)
	transport := &http.Transport{Protocols: &protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// get asks for a path and returns the answer's status and body.
func (s started) get(t *testing.T, major int, path string) (int, io.Reader) {
	t.Helper()
	response, err := client(t, major).Get("http://" + s.address + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if response.ProtoMajor != major {
		t.Fatalf("answered by %s, asked by HTTP/%d", response.Proto, major)
	}
	return response.StatusCode, response.Body
}

// read asks for a path and reads the whole answer.
func (s started) read(t *testing.T, major int, path string) (int, []byte) {
	t.Helper()
	status, body := s.get(t, major, path)
	content, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return status, content
}

func (s started) dial(t *testing.T) *websocket.Conn {
	t.Helper()
	socket, err := websocket.Dial("ws://"+s.address+"/socket", "", "http://"+s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return socket
}

func roundTrip(t *testing.T, socket *websocket.Conn, message string) {
	t.Helper()
	var answer string
	if err := websocket.Message.Send(socket, message); err != nil {
		t.Fatal(err)
	}
	if err := websocket.Message.Receive(socket, &answer); err != nil || answer != message {
		t.Fatalf("%q was answered by %q, error %v", message, answer, err)
	}
}

func TestBothVersionsOfHTTP(t *testing.T) {
	s := start(t, time.Second)
	for major, protocol := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2.0"} {
		if status, got := s.read(t, major, "/hello"); status != http.StatusOK || string(got) != "hello\n" {
			t.Errorf("%s: hello %d %q", protocol, status, got)
		}
		if status, got := s.read(t, major, "/refusal"); status != http.StatusTooManyRequests || string(got) != "the model's own refusal\n" {
			t.Errorf("%s: refusal %d %q", protocol, status, got)
		}
		if status, got := s.read(t, major, "/failure"); status != http.StatusInternalServerError || string(got) != "the model's own failure\n" {
			t.Errorf("%s: failure %d %q", protocol, status, got)
		}
		var got arrived
		_, headers := s.read(t, major, "/headers")
		if err := json.Unmarshal(headers, &got); err != nil {
			t.Fatal(err)
		}
		if got.Protocol != protocol || got.Host != s.address || got.Headers.Get("User-Agent") == "" {
			t.Errorf("%s: arrived as %+v", protocol, got)
		}

		_, stream := s.get(t, major, "/events?seconds=0.3")
		events := bufio.NewScanner(stream)
		for _, want := range strings.Split("id: 1,data: 1,,id: 2,data: 2,,id: 3,data: 3,", ",") {
			if !events.Scan() || events.Text() != want {
				t.Fatalf("%s: event line %q, want %q", protocol, events.Text(), want)
			}
		}
		if events.Scan() {
			t.Errorf("%s: one event too many: %q", protocol, events.Text())
		}

		want := append(bytes.Repeat([]byte{1}, blockBytes), bytes.Repeat([]byte{2}, blockBytes)...)
		if _, got := s.read(t, major, "/download?seconds=0.2"); !bytes.Equal(got, want) {
			t.Errorf("%s: download of %d bytes, want 2 blocks", protocol, len(got))
		}
	}
}

// Each event is sent when it is due, not when there are enough of them.
func TestEventsComeOneByOne(t *testing.T) {
	s := start(t, time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/events?seconds=600", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client(t, 1).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if line, err := bufio.NewReader(response.Body).ReadString('\n'); err != nil || line != "id: 1\n" {
		t.Errorf("first line %q, error %v", line, err)
	}
}

func TestSecondsAreBounded(t *testing.T) {
	s := start(t, time.Second)
	for _, path := range []string{"/hello?seconds=-1", "/events?seconds=601", "/download?seconds=NaN", "/hello?seconds=soon"} {
		if status, text := s.read(t, 1, path); status != http.StatusBadRequest || !bytes.HasPrefix(text, []byte("seconds: got ")) {
			t.Errorf("%s: %d %q", path, status, text)
		}
	}
}

func TestSocketEchoes(t *testing.T) {
	socket := start(t, time.Second).dial(t)
	for _, message := range []string{"a", "", strings.Repeat("long ", 10_000)} {
		roundTrip(t, socket, message)
	}
}

func TestGRPCEchoes(t *testing.T) {
	s := start(t, time.Second)
	connection, err := grpc.NewClient("passthrough:///"+s.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	echo := testpb.NewBenchmarkServiceClient(connection)
	message := func(n int) *testpb.SimpleRequest {
		return &testpb.SimpleRequest{Payload: &testpb.Payload{Body: fmt.Append(nil, "message ", n)}}
	}
	unary, err := echo.UnaryCall(t.Context(), message(1))
	if err != nil || string(unary.GetPayload().GetBody()) != "message 1" {
		t.Fatalf("unary: %v, error %v", unary, err)
	}
	stream, err := echo.StreamingCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if err := stream.Send(message(n)); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil || string(answer.GetPayload().GetBody()) != fmt.Sprint("message ", n) {
			t.Fatalf("message %d was answered by %v, error %v", n, answer, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last message: %v, want an end", err)
	}
}

// At SIGTERM, requests and WebSockets in flight are finished before serve returns.
func TestDrainFinishesWhatIsInFlight(t *testing.T) {
	for _, major := range []int{1, 2} {
		s := start(t, 10*time.Second)
		socket := s.dial(t)
		roundTrip(t, socket, "before")
		_, download := s.get(t, major, "/download?seconds=0.5")
		s.stop()
		if got, err := io.Copy(io.Discard, download); got != 5*blockBytes || err != nil {
			t.Errorf("HTTP/%d: %d bytes, error %v, want 5 blocks", major, got, err)
		}
		roundTrip(t, socket, "after")
		select {
		case err := <-s.ended:
			t.Fatalf("ended with a WebSocket open: %v", err)
		default:
		}
		if err := socket.Close(); err != nil {
			t.Error(err)
		}
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
	}
}

func TestDrainEnds(t *testing.T) {
	s := start(t, 50*time.Millisecond)
	roundTrip(t, s.dial(t), "before")
	s.stop()
	if err := <-s.ended; err == nil || !strings.Contains(err.Error(), "draining WebSockets") {
		t.Errorf("error %v, want one of the WebSocket that was cut off", err)
	}
}

func TestWorkIsCounted(t *testing.T) {
	s := start(t, time.Second)
	var working sync.WaitGroup
	for range 3 {
		working.Go(func() {
			response, err := http.Post("http://"+s.address+"/work", "application/json", strings.NewReader("{}"))
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusAccepted {
				t.Error("work was answered by", response.Status)
			}
		})
	}
	working.Wait()
	if _, got := s.read(t, 1, "/worked"); string(got) != `{"done":3,"most":3}`+"\n" {
		t.Errorf("worked %s", got)
	}
}

// Work takes as long as it is told to, and is refused where that is no time.
func TestWorkTakesItsTime(t *testing.T) {
	s := start(t, time.Second)
	for _, c := range []struct {
		path   string
		lasts  time.Duration
		status int
	}{
		{"/work", workLasts, http.StatusAccepted},
		{"/work?seconds=0.4", 400 * time.Millisecond, http.StatusAccepted},
		{"/work?seconds=soon", 0, http.StatusBadRequest},
	} {
		began := time.Now()
		response, err := http.Post("http://"+s.address+c.path, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if took := time.Since(began); response.StatusCode != c.status || took < c.lasts {
			t.Errorf("%s: %s after %v, want %d after %v", c.path, response.Status, took, c.status, c.lasts)
		}
	}
}
