package plan

import "fmt"

// MaxParts bounds the parts of a plan, and so its size and that of a listing.
const MaxParts = 10_000

// Position is a place in an input, between two items.
type Position struct {
	// Object is the name of the object, empty at the very beginning.
	Object string `json:"object,omitempty"`
	// Offset is in bytes, from the object's beginning.
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
		return fmt.Sprintf("byte %d of %s", p.Offset, p.Object)
	}
}

// Plan is an input, cut.
type Plan struct {
	Items  int64   `json:"items"`
	Parts  []Part  `json:"parts"`
	Shards []Shard `json:"shards"`
	// End is where the last part ends. Each other one ends where the next begins.
	End Position `json:"end"`
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

// Bounds are what a part may have, unless there would be more than MaxParts: then both
// are doubled as often as it takes. An item that is larger is a part of its own.
type Bounds struct {
	Items int64
	Bytes int64
	// Shards bounds their number.
	Shards int
}

// Builder takes an input's items, in order, and keeps no more of them than the cuts.
type Builder struct {
	bounds Bounds
	parts  []Part
	end    Position
}

// New returns a Builder.
func New(bounds Bounds) *Builder { return &Builder{bounds: bounds} }

// Add takes the next item: its size in bytes and the position at which it ends.
func (b *Builder) Add(end Position, size int64) {
	last := len(b.parts) - 1
	if last >= 0 && b.fits(b.parts[last], Part{Items: 1, Bytes: size}) {
		b.parts[last].Items++
		b.parts[last].Bytes += size
		b.end = end
		return
	}
	if len(b.parts) == MaxParts {
		b.double()
		b.Add(end, size)
		return
	}
	next := Part{Items: 1, Bytes: size, At: b.end}
	if last >= 0 {
		next.First = b.parts[last].First + b.parts[last].Items
	}
	b.parts = append(b.parts, next)
	b.end = end
}

func (b *Builder) fits(part, more Part) bool {
	return part.Items+more.Items <= b.bounds.Items && part.Bytes+more.Bytes <= b.bounds.Bytes
}

// double doubles the bounds, until that joins parts.
func (b *Builder) double() {
	for before := len(b.parts); len(b.parts) == before; {
		b.bounds.Items *= 2
		b.bounds.Bytes *= 2
		joined := b.parts[:1]
		for _, part := range b.parts[1:] {
			if last := &joined[len(joined)-1]; b.fits(*last, part) {
				last.Items += part.Items
				last.Bytes += part.Bytes
				continue
			}
			joined = append(joined, part)
		}
		b.parts = joined
	}
}

// Plan returns the plan of what was added.
func (b *Builder) Plan() *Plan {
	p := &Plan{Parts: b.parts, End: b.end}
	if n := len(b.parts); n > 0 {
		p.Items = b.parts[n-1].First + b.parts[n-1].Items
	}
	p.Shards = shards(len(b.parts), b.bounds.Shards)
	return p
}

// shards divides parts evenly, so that none is empty.
func shards(parts, most int) []Shard {
	n := min(parts, most)
	divided := make([]Shard, n)
	for i := range divided {
		divided[i] = Shard{From: i * parts / n, To: (i + 1) * parts / n}
	}
	return divided
}
