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
		Items: rapid.Int64Range(1, 8).Draw(t, "items"), Bytes: rapid.Int64Range(1, 1000).Draw(t, "bytes"),
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

func TestShards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts, most := rapid.IntRange(0, MaxParts).Draw(t, "parts"), rapid.IntRange(1, 1000).Draw(t, "most")
		divided := shards(parts, most)
		if len(divided) != min(parts, most) {
			t.Fatalf("%d shards of %d parts, at most %d", len(divided), parts, most)
		}
		next := 0
		for i, shard := range divided {
			size := shard.To - shard.From
			if shard.From != next || size < parts/len(divided) || size > parts/len(divided)+1 {
				t.Fatalf("shard %d is %+v, of %d parts in %d shards", i, shard, parts, len(divided))
			}
			next = shard.To
		}
		if next != parts {
			t.Fatalf("shards have %d parts, want %d", next, parts)
		}
	})
}

// An item that is larger than a part may be is one.
func TestLargeItem(t *testing.T) {
	p := build([]item{{5, Position{Offset: 5}}, {500, Position{Offset: 505}}, {5, Position{Offset: 510}}}, Bounds{Items: 10, Bytes: 100, Shards: 1})
	want := []Part{{0, 1, 5, Position{}}, {1, 1, 500, Position{Offset: 5}}, {2, 1, 5, Position{Offset: 505}}}
	if diff := cmp.Diff(want, p.Parts); diff != "" {
		t.Error("parts (-want, +got):", diff)
	}
}
