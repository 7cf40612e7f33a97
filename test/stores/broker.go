package stores

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

// FindBroker returns the broker of Kafka that the environment names, as host:port: one that
// asks nobody who asks. Where it doesn't answer it is brought up by name, if the environment
// says by whom.
func FindBroker(ctx context.Context) (string, error) {
	broker := os.Getenv("SLUICE_KAFKA_BROKER")
	if broker == "" {
		return "", errors.New("SLUICE_KAFKA_BROKER names a broker of Kafka for tests, and isn't set: the local stack sets it (hack/cluster/cluster env)")
	}
	return broker, reach(ctx, "broker", "kafka", func(ctx context.Context) error { return listens(ctx, broker) })
}

// listens is nil where a connection is accepted.
func listens(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, answersWithin)
	defer cancel()
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", address, err)
	}
	return connection.Close()
}
