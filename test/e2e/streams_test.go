//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/platform"
)

const (
	// wide is a limit that no test reaches but those about limits.
	wide = "5000"
	// beat is the time between two events, two blocks, and here two messages.
	beat = 100 * time.Millisecond
	// blockBytes is the size of a download's block.
	blockBytes = 16 << 10
	// answerWithin bounds the wait for an answer that takes no time.
	answerWithin = 10 * time.Second
)

// streams is a Model of the streams image: one replica, and a limit to forget.
func (s *stage) streams(name string, changes ...func(*v1alpha1.Model)) *v1alpha1.Model {
	return s.ranker(name, append([]func(*v1alpha1.Model){fixed(wide), func(m *v1alpha1.Model) {
		m.Spec.Container = s.streamsContainer()
		// Straight to the replica, since the activator would be what is measured.
		m.Spec.Autoscaling.TargetBurstCapacity = ptr.Int32(0)
	}}, changes...)...)
}

func (s *stage) streamsContainer() corev1.Container {
	container := s.container()
	container.Image = cluster.streams
	container.ReadinessProbe.HTTPGet = &corev1.HTTPGetAction{Path: "/hello", Port: intstr.FromInt32(0)}
	return container
}

// overHTTP2 has a Model spoken to over HTTP/2.
func overHTTP2(m *v1alpha1.Model) {
	m.Spec.Container.Ports = []corev1.ContainerPort{{Name: "h2c", ContainerPort: 8080}}
}

func timeout(seconds int64) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) { m.Spec.TimeoutSeconds = ptr.Int64(seconds) }
}

// caller calls a Model of the streams image over one version of HTTP. Its methods
// return errors, not failures, since some of them run beside a test.
type caller struct {
	platform.Endpoint
	http *http.Client
}

// newCaller speaks HTTP/1.1 or, with prior knowledge, HTTP/2, by major version.
func newCaller(endpoint platform.Endpoint, major int) *caller {
	transport := endpoint.Transport()
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(major == 1)
	transport.Protocols.SetUnencryptedHTTP2(major == 2)
	return &caller{Endpoint: endpoint, http: &http.Client{Transport: transport}}
}

// get asks for a path; whatever is answered is not an error. A header "Host" is
// the host.
func (c *caller) get(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL(path), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("building a request: %w", err)
	}
	if header != nil {
		request.Header = header
	}
	if host := header.Get("Host"); host != "" {
		request.Host = host
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", path, err)
	}
	return response, nil
}

// ask asks for a path and reads the whole answer.
func (c *caller) ask(ctx context.Context, path string, header http.Header) (status int, body []byte, err error) {
	response, err := c.get(ctx, path, header)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	if body, err = io.ReadAll(response.Body); err != nil {
		return 0, nil, fmt.Errorf("reading the answer to %s: %w", path, err)
	}
	return response.StatusCode, body, nil
}

// open asks for a stream of so many seconds.
func (c *caller) open(ctx context.Context, path string, seconds int) (io.ReadCloser, error) {
	response, err := c.get(ctx, path+"?seconds="+strconv.Itoa(seconds), nil)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("%s was answered by %s", path, response.Status)
	}
	return response.Body, nil
}

// arrival is how a request came to the Model.
type arrival struct {
	Protocol string      `json:"protocol"`
	Host     string      `json:"host"`
	Headers  http.Header `json:"headers"`
}

// mirror asks how a request with these headers comes to the Model.
func (c *caller) mirror(ctx context.Context, header http.Header) (arrival, error) {
	var got arrival
	status, body, err := c.ask(ctx, "/headers", header)
	if err != nil {
		return got, err
	}
	if err := json.Unmarshal(body, &got); err != nil || status != http.StatusOK {
		return got, fmt.Errorf("/headers was answered by status %d: %.100s", status, body)
	}
	return got, nil
}

// events listens to server-sent events until the stream ends or heard returns
// false. It is an error if one is missing.
func (c *caller) events(ctx context.Context, seconds int, heard func(n int) bool) error {
	stream, err := c.open(ctx, "/events", seconds)
	if err != nil {
		return err
	}
	defer stream.Close()
	lines := bufio.NewScanner(stream)
	n := 0
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		n++
		if data != strconv.Itoa(n) {
			return fmt.Errorf("event %s came where %d was due", data, n)
		}
		if !heard(n) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("after event %d: %w", n, err)
	}
	if want := seconds * int(time.Second/beat); n != want {
		return fmt.Errorf("ended after %d of %d events", n, want)
	}
	return nil
}

// download reads a long answer and checks every byte of it.
func (c *caller) download(ctx context.Context, seconds int) error {
	stream, err := c.open(ctx, "/download", seconds)
	if err != nil {
		return err
	}
	defer stream.Close()
	block := make([]byte, blockBytes)
	for n := 1; n <= seconds*int(time.Second/beat); n++ {
		if _, err := io.ReadFull(stream, block); err != nil {
			return fmt.Errorf("reading block %d: %w", n, err)
		}
		if !bytes.Equal(block, bytes.Repeat([]byte{byte(n)}, blockBytes)) {
			return fmt.Errorf("block %d is not what was sent", n)
		}
	}
	more, err := io.Copy(io.Discard, stream)
	if err != nil {
		return fmt.Errorf("reading the end: %w", err)
	}
	if more > 0 {
		return fmt.Errorf("%d bytes more than there should be", more)
	}
	return nil
}

// socket opens a WebSocket.
func (c *caller) socket(ctx context.Context) (*websocket.Conn, error) {
	config, err := websocket.NewConfig("ws://"+c.Host+"/socket", c.URL("/"))
	if err != nil {
		return nil, fmt.Errorf("configuring a WebSocket: %w", err)
	}
	connection, err := c.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening a WebSocket: %w", err)
	}
	_ = connection.SetDeadline(time.Now().Add(answerWithin)) // a TCP connection has deadlines
	socket, err := websocket.NewClient(config, connection)
	if err != nil {
		connection.Close()
		return nil, fmt.Errorf("opening a WebSocket: %w", err)
	}
	return socket, nil
}

// echo sends a message and waits for its echo.
func echo(socket *websocket.Conn, message string) error {
	_ = socket.SetDeadline(time.Now().Add(answerWithin)) // as above
	if err := websocket.Message.Send(socket, message); err != nil {
		return fmt.Errorf("sending %q: %w", message, err)
	}
	var answer string
	if err := websocket.Message.Receive(socket, &answer); err != nil {
		return fmt.Errorf("waiting for the echo of %q: %w", message, err)
	}
	if answer != message {
		return fmt.Errorf("the echo of %q is %q", message, answer)
	}
	return nil
}

// converse has a message echoed every beat until more returns false.
func (c *caller) converse(ctx context.Context, more func(n int) bool) error {
	socket, err := c.socket(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }() // what counts was echoed by then
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for n := 1; more(n); n++ {
		if err := echo(socket, "message "+strconv.Itoa(n)); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// rpc calls gRPC's BenchmarkService.
func (c *caller) rpc(call func(testpb.BenchmarkServiceClient) error) error {
	connection, err := grpc.NewClient("passthrough:///"+c.Host,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.Dial(ctx) }))
	if err != nil {
		return fmt.Errorf("making a gRPC client: %w", err)
	}
	return errors.Join(call(testpb.NewBenchmarkServiceClient(connection)), connection.Close())
}

// unary has one message echoed over gRPC.
func (c *caller) unary(ctx context.Context) error {
	return c.rpc(func(service testpb.BenchmarkServiceClient) error {
		response, err := service.UnaryCall(ctx, payload("unary"))
		if err == nil && string(response.GetPayload().GetBody()) != "unary" {
			err = fmt.Errorf("the echo is %q", response.GetPayload().GetBody())
		}
		return err
	})
}

// bothWays has messages echoed over one gRPC stream, each before the next is sent.
func (c *caller) bothWays(ctx context.Context, messages int) error {
	return c.rpc(func(service testpb.BenchmarkServiceClient) error {
		stream, err := service.StreamingCall(ctx)
		if err != nil {
			return fmt.Errorf("opening the stream: %w", err)
		}
		for n := range messages {
			if err := pingPong(stream, "message "+strconv.Itoa(n)); err != nil {
				return err
			}
		}
		if err := stream.CloseSend(); err != nil {
			return fmt.Errorf("ending the stream: %w", err)
		}
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			return errors.Join(errors.New("the stream did not end after the last message"), err)
		}
		return nil
	})
}

func pingPong(stream testpb.BenchmarkService_StreamingCallClient, message string) error {
	if err := stream.Send(payload(message)); err != nil {
		return fmt.Errorf("sending %q: %w", message, err)
	}
	answer, err := stream.Recv()
	if err != nil {
		return fmt.Errorf("waiting for the echo of %q: %w", message, err)
	}
	if got := string(answer.GetPayload().GetBody()); got != message {
		return fmt.Errorf("the echo of %q is %q", message, got)
	}
	return nil
}

func payload(text string) *testpb.SimpleRequest {
	return &testpb.SimpleRequest{Payload: &testpb.Payload{Body: []byte(text)}}
}
