package plan

import "fmt"

// MaxParts bounds the parts of a plan, and so its size and that of a listing.
const MaxParts = 10_000

// Position is a place in an input, between two items.
type Position struct {
	// Object is the name of the object, or of a topic's partition; empty at the very beginning.
	Object string `json:"object,omitempty"`
	// Offset is in bytes, from the object's beginning; of a partition it is that of the next
	// record.
	Offset int64 `json:"offset,omitempty"`
	// Line is the number of the object's lines before it.
	Line int64 `json:"line,omitempty"`
}

func (p Position) String() string {
	switch {
	case p.Object == "":
		return "the beginning"
	case p.Line > 0:
		return fmt.Sprintf("line %d of %s", p.Line, p.Object)
	default:
		return fmt.Sprintf("offset %d of %s", p.Offset, p.Object)
	}
}

// Plan is an input, cut.
type Plan struct {
	Items  int64   `json:"items"`
	Parts  []Part  `json:"parts"`
	Shards []Shard `json:"shards"`
	// End is where the last part ends. Each other one ends where the next begins.
	End Position `json:"end"`
	// Ranges are what is read, in this order, of an input that grows; nil of any other.
	Ranges []Range `json:"ranges,omitempty"`
}

// Range is what is read of something that grows: offsets From up to, and without, To.
type Range struct {
	Object string `json:"object"`
	From   int64  `json:"from"`
	To     int64  `json:"to"`
}

// Part is a run of items.
type Part struct {
	// First is the number of its first item; the input's first is 0.
	First int64    `json:"first"`
	Items int64    `json:"items"`
	Bytes int64    `json:"bytes"`
	At    Position `json:"at"`
}

// Shard is a run of parts: from From up to, and without, To.
type Shard struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// EndOf is where a part ends.
func (p *Plan) EndOf(part int) Position {
	if part+1 < len(p.Parts) {
		return p.Parts[part+1].At
	}
	return p.End
}

// Bounds are what a part may have, unless there would be more than MaxParts: then what is cut
// is doubled as often as it takes. An item that is larger is a part of its own.
type Bounds struct {
	Items int64
	Bytes int64
	// Shards bounds their number, and Workers is how many of them are worked on at the same time.
	Shards, Workers int
}

// grains are into how many pieces a part may be cut, at most, to make shards even.
const grains = 8

// Builder takes an input's items, in order, and keeps no more of them than the cuts.
type Builder struct {
	bounds Bounds
	// items and bytes are what a piece may have: parts are made of some.
	items, bytes int64
	pieces       []Part
	end          Position
}

// New returns a Builder.
func New(bounds Bounds) *Builder {
	b := &Builder{bounds: bounds, items: max(1, (bounds.Items+grains-1)/grains), bytes: max(1, bounds.Bytes/grains)}
	for bounds.Items > 0 && bounds.Items%b.items > 0 {
		b.items++ // parts are full of pieces
	}
	return b
}

// Add takes the next item: its size in bytes and the position at which it ends.
func (b *Builder) Add(end Position, size int64) {
	last := len(b.pieces) - 1
	if last >= 0 && fits(b.pieces[last], Part{Items: 1, Bytes: size}, b.items, b.bytes) {
		b.pieces[last].Items++
		b.pieces[last].Bytes += size
		b.end = end
		return
	}
	if len(b.pieces) == MaxParts {
		b.double()
		b.Add(end, size)
		return
	}
	next := Part{Items: 1, Bytes: size, At: b.end}
	if last >= 0 {
		next.First = b.pieces[last].First + b.pieces[last].Items
	}
	b.pieces = append(b.pieces, next)
	b.end = end
}

func fits(part, more Part, items, bytes int64) bool {
	return part.Items+more.Items <= items && part.Bytes+more.Bytes <= bytes
}

// double doubles what a piece may have, until that joins some.
func (b *Builder) double() {
	for before := len(b.pieces); len(b.pieces) == before; {
		b.items *= 2
		b.bytes *= 2
		b.pieces = join(b.pieces[:0], b.pieces, b.items, b.bytes)
	}
}

// join appends to parts what pieces make that are put together as far as they fit.
func join(parts, pieces []Part, items, bytes int64) []Part {
	first := len(parts)
	for _, piece := range pieces {
		if last := len(parts) - 1; last >= first && fits(parts[last], piece, items, bytes) {
			parts[last].Items += piece.Items
			parts[last].Bytes += piece.Bytes
			continue
		}
		parts = append(parts, piece)
	}
	return parts
}

// Plan returns the plan of what was added.
func (b *Builder) Plan() *Plan {
	p := &Plan{End: b.end}
	if n := len(b.pieces); n > 0 {
		p.Items = b.pieces[n-1].First + b.pieces[n-1].Items
	}
	items, bytes := max(b.items, b.bounds.Items), max(b.bytes, b.bounds.Bytes)
	n := b.bounds.shards(len(join(nil, b.pieces, items, bytes)))
	next := 0
	for i := range n {
		from := next
		for next++; next < len(b.pieces)-(n-1-i) && b.pieces[next].First*int64(n) < p.Items*int64(i+1); {
			next++
		}
		shard := Shard{From: len(p.Parts)}
		p.Parts = join(p.Parts, b.pieces[from:next], items, bytes)
		shard.To = len(p.Parts)
		p.Shards = append(p.Shards, shard)
	}
	return p
}

// shards is into how many so many full parts are divided, so that each worker has as many of
// them: one that is left for a last round begins with a pod that has to start, while nobody
// else works.
func (of Bounds) shards(parts int) int {
	n := min(parts, of.Shards)
	if of.Workers > 0 && n > of.Workers {
		n -= n % of.Workers
	}
	return n
}
