// Package rows gathers requests of the Open Inference Protocol, version 2, into larger
// ones, and cuts the answers again. It is pure, and it reads no more of a request than it
// has to: numbers stay as they were written.
//
// See https://github.com/open-inference/open-inference-protocol, the REST inference API.
package rows
