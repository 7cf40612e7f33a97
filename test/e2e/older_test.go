//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"time"
)

// The gateway takes what Go's client doesn't send.

// servesOld asks by HTTP/1.0, as ab and some load balancers' checks do.
func servesOld(ctx context.Context, c *caller) error {
	return c.answers(ctx, "GET /hello HTTP/1.0\r\nHost: "+c.Host+"\r\n\r\n")
}

// servesRooted asks for the host with the dot that ends a whole name.
func servesRooted(ctx context.Context, c *caller) error {
	return c.answers(ctx, "GET /hello HTTP/1.1\r\nHost: "+c.Host+".\r\nConnection: close\r\n\r\n")
}

// servesWithoutUpgrade offers to go on in other protocols.
func servesWithoutUpgrade(ctx context.Context, c *caller) error {
	for _, upgrade := range []string{"h2c", "TLS/1.2", "h2"} {
		request := "GET /hello HTTP/1.1\r\nHost: " + c.Host + "\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: " + upgrade +
			"\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
		if err := c.answers(ctx, request); err != nil {
			return fmt.Errorf("offering %s: %w", upgrade, err)
		}
	}
	return nil
}

// answers wants 200 for a request that is sent as it is.
func (c *caller) answers(ctx context.Context, request string) error {
	connection, err := c.Dial(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return fmt.Errorf("bounding the wait: %w", err)
	}
	if _, err := connection.Write([]byte(request)); err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("answered by %s", response.Status)
	}
	return nil
}
