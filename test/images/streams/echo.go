package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// echo answers each message of gRPC's BenchmarkService with its payload.
type echo struct {
	testpb.UnimplementedBenchmarkServiceServer
}

func newEcho() *grpc.Server {
	s := grpc.NewServer()
	testpb.RegisterBenchmarkServiceServer(s, echo{})
	return s
}

// UnaryCall echoes one message.
func (echo) UnaryCall(_ context.Context, request *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return &testpb.SimpleResponse{Payload: request.GetPayload()}, nil
}

// StreamingCall echoes each message as it comes, until the client has no more.
func (echo) StreamingCall(stream testpb.BenchmarkService_StreamingCallServer) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
		if err := stream.Send(&testpb.SimpleResponse{Payload: request.GetPayload()}); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
	}
}
