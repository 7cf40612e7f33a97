// Command s3events stands between an S3-compatible store and a sink of CloudEvents: what a
// store sends of its objects is JSON of S3's own, and a Broker takes nothing but CloudEvents,
// where Knative Eventing authenticates by a token alone. Sluice's demo of batch and the e2e
// tests deploy it, bound to a Broker by a SinkBinding of Knative's.
//
// POST / takes an S3 notification, and answers 202 before its records are sent. Each record
// becomes an event by the CloudEvents project's mapping for S3:
//
//	type             com.amazonaws.s3. and the record's eventName, without "s3:"
//	source           eventSource.awsRegion.bucket
//	subject          the object's key, as the store writes it: AWS' own encodes it for URLs
//	time             eventTime
//	id               a digest of the record; that mapping takes it from the identity of the
//	                 store's request, which not every store tells
//	data             the record
//
// So a record that is sent again is the same event. What can't be an event is answered with
// 400, and what comes while 64 records are on their way with 503. A record that the sink
// doesn't take in six attempts is given up: nothing is kept on disk, and versitygw sends each
// notification once.
//
// It goes by what a SinkBinding gives: K_SINK is the sink's address, /oidc/token a token for
// it, if there is one. It listens on PORT, 8080 by default, where GET /healthz answers 200.
// Nothing here may import Sluice itself.
package main
