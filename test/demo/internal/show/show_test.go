package show

import (
	"strings"
	"testing"
	"time"
)

func TestMilliseconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "-", 1530 * time.Microsecond: "1.5 ms", 99990 * time.Microsecond: "100.0 ms", 100 * time.Millisecond: "100 ms", 2 * time.Second: "2000 ms",
	} {
		if got := Milliseconds(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestPage(t *testing.T) {
	var out strings.Builder
	p := NewPage(&out)
	p.Title("A step")
	p.Sayf("went %d %%", 50)
	p.Line("figure", "%d", 7)
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 5 || lines[1] != "A step" || !strings.HasSuffix(lines[2], " s  went 50 %") || lines[3] != "  figure          7" {
		t.Errorf("the page is %q", out.String())
	}
	if got := Digest("r:5000/x@sha256:0123456789abcdef"); got != "r:5000/x@sha256:0123456789ab…" {
		t.Errorf("the digest is %q", got)
	}
}
