// Command observe shows what is known of a Model from outside it: it has one serve a load of
// which it counts each answer, asks Prometheus, VictoriaMetrics, VictoriaLogs, Kafka and Jaeger
// for the same, and prints each query with what it returned beside what was counted. `make
// observe` runs it.
//
// It exits with 0 only if all of them have, within a minute, what the load generator counted:
// no request more, none less.
package main
