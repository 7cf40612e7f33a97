// Package slack says what the online demand for a Model leaves of what its replicas serve:
// what batch may take, for how long that counts, and what both together come to while the
// demand rises. It is pure: plain values in, plain values out.
//
// Where ready replicas serve C a second and D is the demand that has to be reckoned with,
//
//	S = (1 - reserve) · (C - (1 + margin) · D) - what waits / 2 s
//
// and at least 0; what replicas serve in 50 ms isn't taken to wait. While the demand rises,
// what is admitted of it and batch come to at most
//
//	D(t) + (1 - reserve) · (C - (1 + margin) · (low - 1.5 √low))
//
// where low is the least demand, second by second, of the lag before t: Every + Valid, 5 s,
// whatever is lost on the way, and where nothing is, as long as the steps take, at most some
// 4.4 s. What the root has is for chance: a demand that comes evenly, and has stood for that
// long, leaves no more than C less margin and reserve.
//
// Turned round, it says how many replicas leave what batches need to meet their deadlines:
// for a rate R, so many that C ≥ R / (1 - reserve) + (1 + margin) · D.
//
// slack.go has the formula, demand.go what it goes by, excess.go how far and for how long
// batch is behind a demand that rises, ceiling.go the rate of the bucket that holds requests
// with the mark, need.go what batches need, replicas.go the replicas that this calls for.
package slack
