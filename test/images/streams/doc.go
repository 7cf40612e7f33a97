// Command streams is a model image that does nothing, over every protocol that a
// gateway has to pass, on one port. Sluice's e2e tests and benchmarks deploy it.
//
//   - GET /hello answers at once, or after ?seconds=N;
//   - GET /refusal answers 429, as a model may do on its own account;
//   - GET /failure answers 500;
//   - GET /events?seconds=N sends server-sent events, numbered from 1, every 100 ms;
//   - GET /download?seconds=N sends a block every 100 ms, blockBytes long, each byte
//     of it the number of the block, from 1, modulo 256;
//   - POST /work answers 202 without a body after 200 ms, or after ?seconds=N; GET /worked
//     tells how many were answered so, and the most that were under way at a time;
//   - GET /headers tells what arrived: protocol, host and headers, as JSON;
//   - POST /predict?seconds=N answers a request of the Open Inference Protocol v2 with its
//     inputs, and 400 if a number is below zero; GET /predicted tells how many were answered
//     that had the mark of a batch, and how many others;
//   - /socket is a WebSocket that echoes;
//   - gRPC's own BenchmarkService echoes: UnaryCall, and StreamingCall both ways.
//
// It listens at once, and has loaded what it serves after STREAMS_LOAD. Until then
//
//   - GET /model answers 404, which GET /early counts;
//   - GET /ready answers 503, and gRPC's health service NOT_SERVING, of "streams" too;
//   - the port STREAMS_LOADED_PORT, if there is one, takes no connections;
//   - "streams ready", run beside it, fails.
//
// "streams fetch FILE" writes the file and ends.
//
// HTTP/1.1 and unencrypted HTTP/2 with prior knowledge share the port. Nothing here
// may import Sluice itself.
package main
