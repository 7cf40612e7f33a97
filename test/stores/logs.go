package stores

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
)

// Logs answers LogsQL, as VictoriaLogs does.
type Logs struct {
	// URL is where it is.
	URL string
}

// FindVictoriaLogs returns the VictoriaLogs that the environment names. Where it doesn't answer
// it is brought up by name, if the environment says by whom.
func FindVictoriaLogs(ctx context.Context) (*Logs, error) {
	at, err := found(ctx, "SLUICE_VICTORIALOGS", "victorialogs", "/health")
	return &Logs{URL: at}, err
}

// Endpoint is where it takes logs by OTLP.
func (l *Logs) Endpoint() string { return l.URL + "/insert/opentelemetry/v1/logs" }

// Query returns at most so many rows, each with its fields. All values are text.
func (l *Logs) Query(ctx context.Context, logsQL string, most int) ([]map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	body, err := ask(ctx, l.URL+"/select/logsql/query", url.Values{"query": {logsQL}, "limit": {strconv.Itoa(most)}})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", logsQL, err)
	}
	var rows []map[string]string
	lines := json.NewDecoder(bytes.NewReader(body))
	for {
		row := map[string]string{}
		switch err := lines.Decode(&row); {
		case errors.Is(err, io.EOF):
			return rows, nil
		case err != nil:
			return nil, fmt.Errorf("%s: reading row %d of the answer: %w", logsQL, len(rows)+1, err)
		}
		rows = append(rows, row)
	}
}
