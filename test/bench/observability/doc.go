// Command observability measures what it costs a request to be seen, how soon it is seen,
// and whether what is seen adds up: the path with the gateways' log and traces and without,
// a request's way into Prometheus, usage through kills, a log store that is away, a thousand
// Models' series, and what dashboards ask. `make bench-observability` runs it; ../README.md
// says how to read it.
//
// It deploys into a namespace of its own, changes config-gateway and where logs are sent for
// as long as it measures, and puts both back at the end, however it ends.
package main
