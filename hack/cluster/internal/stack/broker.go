package stack

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// brokerAnswers asks a broker of Kafka which requests it knows, ApiVersions of version 0,
// which each has answered since 0.10 and none before it can do its work. It is asked over TLS
// where terms are given, and before any login.
// https://kafka.apache.org/protocol#The_Messages_ApiVersions
func brokerAnswers(ctx context.Context, address string, terms *tls.Config) error {
	dialer := net.Dialer{Timeout: time.Second}
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	if terms != nil {
		terms = terms.Clone()
		terms.ServerName, _, _ = net.SplitHostPort(address)
		connection = tls.Client(connection, terms)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	return askBroker(connection)
}

const (
	apiVersions = 18
	correlation = 1
	// maxVersions bounds the answer, which is of a few hundred bytes.
	maxVersions = 64 << 10
)

// askBroker writes the request, and reads its answer: the length of both comes first.
func askBroker(connection io.ReadWriter) error {
	client := "sluice-cluster"
	var request bytes.Buffer
	for _, field := range []any{int16(apiVersions), int16(0), int32(correlation), int16(len(client))} {
		_ = binary.Write(&request, binary.BigEndian, field) // to memory
	}
	request.WriteString(client)
	if _, err := connection.Write(binary.BigEndian.AppendUint32(nil, uint32(request.Len()))); err != nil {
		return err
	}
	if _, err := connection.Write(request.Bytes()); err != nil {
		return err
	}
	var head struct {
		Length      int32
		Correlation int32
		Error       int16
		Known       int32
	}
	if err := binary.Read(connection, binary.BigEndian, &head); err != nil {
		return fmt.Errorf("reading the broker's answer: %w", err)
	}
	switch {
	case head.Length < 10 || head.Length > maxVersions || head.Correlation != correlation:
		return errors.New("what answers there is no broker of Kafka")
	case head.Error != 0:
		return fmt.Errorf("the broker answers with error code %d", head.Error)
	case head.Known == 0:
		return errors.New("the broker knows no request yet")
	}
	return nil
}
