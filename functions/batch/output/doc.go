// Package output keeps what came of a batch's items, and nothing else is kept of a batch's
// progress:
//
//	_sluice/owner.json         whose output it is
//	_sluice/plan.json          the parts and shards
//	results/<first item>.jsonl a part's results: a record of each of its items, in order
//	errors/<first item>.jsonl  those of them that have failed, again
//
// A part is committed once its results are there, and a store lets nobody replace them. So
// however many workers work on a part, whenever they are killed, there is one record of each
// item. Answers and failures are in one object because of that: in an object each, one
// worker's answers could come to stand beside another's failures, with an item in both of
// them, or in neither. Errors are cut from the results that are there, so anybody may write
// them; once they are there, even without a record, the part is settled.
package output
