// Package mapping makes of an event what an InferenceTrigger says, a request to a Model or a Batch;
// or the Batch that the event itself asks for. It decides nothing else, and asks nobody.
package mapping
