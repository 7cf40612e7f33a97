// Package topic reads a batch's items from a topic of Kafka, and keeps its results in one.
//
// A partition is read by asking its leader for what is at an offset, and not by a consumer:
// only so does an answer with nothing in it tell that the rest of a range has no records, as
// after compaction, or where what was there last was aborted.
//
// A part's results are one transaction: a record of each item, and a marker of the part in
// the topic of markers. Who has a shard has its transactional ID, and lost it once another
// worker began the shard; so what was committed when a worker began is all that others ever
// will, and it reads that first:
//
//	<topic>          records, a shard's in one partition, in the order of the items
//	<error topic>    those of items that have failed, again, where one is named
//	<topic>.batches  of each batch its plan, in pieces, and then the markers of its parts
package topic
