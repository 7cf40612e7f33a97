package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sluice.dev/sluice/test/demo/internal/show"
)

// whole is a count, or what a value is that is none.
func whole(value float64) string { return strconv.FormatFloat(value, 'f', -1, 64) }

// wanted is what the load generator counted.
func (q question) wanted() string {
	if q.least {
		return whole(q.want) + " or more"
	}
	return whole(q.want)
}

// returned is what the store answered.
func (a answer) returned() string {
	switch {
	case a.err != nil:
		return "an error"
	case !a.there:
		return "nothing"
	default:
		return whole(a.value)
	}
}

// show prints each query, what it returned and what was counted.
func (d *demo) show() {
	store := ""
	for _, a := range d.answers {
		if a.store != store {
			store = a.store
			d.Title(fmt.Sprintf("%s, %s", store, d.at(store)))
		}
		seen := "NOT RIGHT"
		if a.right {
			seen = "after " + show.Seconds(a.after)
		}
		d.Printf("  %s\n    %-46s returned %8s   counted %10s   %s\n", a.query, a.of, a.returned(), a.wanted(), seen)
		if a.says != "" {
			d.Printf("      %s\n", strings.ReplaceAll(a.says, "\n", "\n      "))
		}
	}
	d.Title("Summary")
	c := d.counted
	d.Line("load", "%d requests to the Model: %d admitted, %d refused, %d not found; p50 %s, p99 %s",
		c.offered(), c.admitted, c.refused, c.missing, show.Milliseconds(c.p50), show.Milliseconds(c.p99))
	right := 0
	for _, a := range d.answers {
		if a.right {
			right++
		}
	}
	d.Line("answers", "%d of %d are what was counted", right, len(d.answers))
	if len(d.problems()) == 0 {
		d.Line("verdict", "as it should be")
	}
}

// farewell says where to look.
func (d *demo) farewell() {
	d.Title("Where to look")
	d.Line(victoriaMetrics, "%s/vmui, a page to draw metrics", d.at(victoriaMetrics))
	d.Line(victoriaLogs, "%s/select/vmui, a page to search logs", d.at(victoriaLogs))
	d.Line(prometheus, "%s/api/v1/query?query=up, its API; it is built without a page", d.at(prometheus))
	d.Line(jaeger, "%s/api/traces/%s, its API; it is built without a page", d.at(jaeger), d.trace)
	d.Line(kafka, "%s, without a login", d.at(kafka))
}

// problems are what must not be, none if all is well.
func (d *demo) problems() []error {
	var out []error
	c := d.counted
	for _, amiss := range c.amiss {
		out = append(out, errors.New(amiss))
	}
	if c.admitted == 0 || c.refused == 0 || c.missing == 0 || c.unrouted == 0 {
		out = append(out, fmt.Errorf("the load has %d admitted, %d refused, %d not found and %d without a route: each is to be seen", c.admitted, c.refused, c.missing, c.unrouted))
	}
	for _, a := range d.answers {
		switch {
		case a.right:
		case a.err != nil:
			out = append(out, fmt.Errorf("%s: %s: %w", a.store, a.query, a.err))
		default:
			out = append(out, fmt.Errorf("%s: %s returned %s, want %s", a.store, a.query, a.returned(), a.wanted()))
		}
	}
	return out
}
