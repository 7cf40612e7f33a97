package main

import (
	"context"
	"fmt"
	"strconv"
)

// value is what Prometheus answers to a query for one number; 0 where it knows of none yet.
func (b *bench) value(ctx context.Context, promQL string) (float64, error) {
	value, _, err := b.prometheus.Number(ctx, promQL)
	return value, err //nolint:wrapcheck // names the query
}

// linesOf is how many lines the log store has that a query finds.
func (b *bench) linesOf(ctx context.Context, logsQL string) (int, error) {
	rows, err := b.logs.Query(ctx, logsQL+" | stats count() lines", 1)
	if err != nil || len(rows) == 0 {
		return 0, err //nolint:wrapcheck // names the query
	}
	n, err := strconv.Atoi(rows[0]["lines"])
	if err != nil {
		return 0, fmt.Errorf("counting lines: %w", err)
	}
	return n, nil
}
