package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// item is one of an input: its size and where it ends.
type item struct {
	size int64
	end  Position
}

func build(items []item, bounds Bounds) *Plan {
	b := New(bounds)
	for _, i := range items {
		b.Add(i.end, i.size)
	}
	return b.Plan()
}

// drawn are items of one object, as many as are enough to have more parts than may be.
func drawn(t *rapid.T) ([]item, Bounds) {
	bounds := Bounds{
		Items: rapid.Int64Range(1, 40).Draw(t, "items"), Bytes: rapid.Int64Range(1, 1000).Draw(t, "bytes"),
		Shards: rapid.IntRange(1, 1000).Draw(t, "shards"),
	}
	sizes := rapid.SliceOfN(rapid.Int64Range(1, 300), 1, 50).Draw(t, "sizes")
	items := make([]item, rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(9_000, 60_000)).Draw(t, "n"))
	var at Position
	for i := range items {
		at = Position{Object: "o", Offset: at.Offset + sizes[i%len(sizes)], Line: at.Line + 1}
		items[i] = item{sizes[i%len(sizes)], at}
	}
	return items, bounds
}

func TestEveryItemIsInOnePart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items, bounds := drawn(t)
		p := build(items, bounds)
		if diff := cmp.Diff(p, build(items, bounds)); diff != "" {
			t.Fatal("another plan of the same input:", diff)
		}
		if len(p.Parts) > MaxParts {
			t.Fatalf("%d parts", len(p.Parts))
		}
		var first int64
		var at Position
		for i, part := range p.Parts {
			if part.First != first || part.At != at || part.Items < 1 {
				t.Fatalf("part %d is %+v, want it to begin with item %d at %s", i, part, first, at)
			}
			var size int64
			for _, of := range items[first : first+part.Items] {
				size += of.size
				at = of.end
			}
			if size != part.Bytes {
				t.Fatalf("part %d is said to have %d bytes, has %d", i, part.Bytes, size)
			}
			if p.EndOf(i) != at {
				t.Fatalf("part %d is said to end at %s, ends at %s", i, p.EndOf(i), at)
			}
			first += part.Items
		}
		if first != int64(len(items)) || p.Items != first {
			t.Fatalf("parts have %d items, the plan says %d, want %d", first, p.Items, len(items))
		}
	})
}

func TestBoundsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items, bounds := drawn(t)
		p := build(items, bounds)
		scale := int64(1)
		for ; least(items, bounds, scale) > MaxParts; scale *= 2 {
		}
		for i, part := range p.Parts {
			// Joined parts may be less full than new ones: no two neighbours fit, so there are up to
			// twice as many, and the bounds may be doubled more often.
			if part.Items > 1 && (part.Items > 4*scale*bounds.Items || part.Bytes > 4*scale*bounds.Bytes) {
				t.Fatalf("part %d is %+v, of bounds %+v and scale %d", i, part, bounds, scale)
			}
			if scale == 1 && len(items) <= MaxParts && part.Items > 1 && (part.Items > bounds.Items || part.Bytes > bounds.Bytes) {
				t.Fatalf("part %d is %+v, of bounds %+v, with few items", i, part, bounds)
			}
		}
	})
}

// least is how many parts there are of bounds times a scale, filled one after the other.
func least(items []item, bounds Bounds, scale int64) int {
	parts, count, size := 0, int64(0), int64(0)
	for _, i := range items {
		if count++; parts == 0 || count > scale*bounds.Items || size+i.size > scale*bounds.Bytes {
			parts, count, size = parts+1, 1, 0
		}
		size += i.size
	}
	return parts
}

// Shards have as many items each, but for what can't be cut: so workers that begin together
// are done together.
func TestShards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items, bounds := drawn(t)
		bounds.Workers = rapid.IntRange(1, bounds.Shards).Draw(t, "workers")
		builder := New(bounds)
		for _, i := range items {
			builder.Add(i.end, i.size)
		}
		p := builder.Plan()
		n := len(p.Shards)
		if n > min(len(p.Parts), bounds.Shards) {
			t.Fatalf("%d shards of %d parts, of bounds %+v", n, len(p.Parts), bounds)
		}
		if n > bounds.Workers && n%bounds.Workers > 0 {
			t.Fatalf("%d shards for %d workers: some of them have nothing to do in the last round", n, bounds.Workers)
		}
		if full := len(join(nil, builder.pieces, max(builder.items, bounds.Items), max(builder.bytes, bounds.Bytes))); n <= min(full, bounds.Shards)-bounds.Workers {
			t.Fatalf("%d shards of %d full parts, of bounds %+v, could be more", n, full, bounds)
		}
		largest, next := int64(0), 0
		for _, piece := range builder.pieces {
			largest = max(largest, piece.Items)
		}
		for i, shard := range p.Shards {
			if shard.From != next || shard.To <= shard.From {
				t.Fatalf("shard %d is %+v, want it to begin with part %d", i, shard, next)
			}
			next = shard.To
			end := p.Items
			if next < len(p.Parts) {
				end = p.Parts[next].First
			}
			if want := p.Items * int64(i+1) / int64(n); largest*int64(n) <= p.Items && (end <= want-largest || end >= want+largest+1) {
				t.Fatalf("shard %d of %d ends with item %d of %d, where pieces have up to %d", i, n, end, p.Items, largest)
			}
		}
		if next != len(p.Parts) {
			t.Fatalf("shards have %d parts, want %d", next, len(p.Parts))
		}
	})
}

// Two workers of 2,400 items are done together: a part of 1,000 and two of 1,400 items would
// leave the last 400 to one of them.
func TestShardsAreEven(t *testing.T) {
	b := New(Bounds{Items: 1000, Bytes: 1 << 20, Shards: 32, Workers: 2})
	for range 2400 {
		b.Add(Position{}, 10)
	}
	p := b.Plan()
	var of []int64
	for _, part := range p.Parts {
		of = append(of, part.Items)
	}
	if diff := cmp.Diff([]int64{1000, 250, 1000, 150}, of); diff != "" {
		t.Error("parts (-want, +got):", diff)
	}
	if diff := cmp.Diff([]Shard{{0, 2}, {2, 4}}, p.Shards); diff != "" {
		t.Error("shards (-want, +got):", diff)
	}
}

// An item that is larger than a part may be is one.
func TestLargeItem(t *testing.T) {
	p := build([]item{{5, Position{Offset: 5}}, {500, Position{Offset: 505}}, {5, Position{Offset: 510}}}, Bounds{Items: 10, Bytes: 100, Shards: 1})
	want := []Part{{0, 1, 5, Position{}}, {1, 1, 500, Position{Offset: 5}}, {2, 1, 5, Position{Offset: 505}}}
	if diff := cmp.Diff(want, p.Parts); diff != "" {
		t.Error("parts (-want, +got):", diff)
	}
}
