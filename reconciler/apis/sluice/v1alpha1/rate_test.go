package v1alpha1

import (
	"encoding/json"
	"math/big"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"pgregory.net/rapid"
)

func TestRatesAreWrittenInDigits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rate *big.Rat
		want string
	}{
		{big.NewRat(6, 10), "0.6"},
		{big.NewRat(67, 2), "33.5"},
		{big.NewRat(160, 1), "160"},
		{big.NewRat(1000, 1), "1000"},
		{big.NewRat(0, 1), "0"},
		{big.NewRat(1, 30), "0.033333333"},
		{big.NewRat(1, 86400), "0.000011574"},
		{new(big.Rat).SetInt64(1e15), "1000000000000000"},
	} {
		text, err := json.Marshal(RateOf(c.rate))
		if err != nil || string(text) != `"`+c.want+`"` {
			t.Errorf("%s is written %s, %v, want %q", c.rate, text, err, c.want)
		}
	}
}

// What is written is read as the same, within a billionth below what it was made of.
func TestRatesAreRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		exact := big.NewRat(rapid.Int64Range(0, 1e12).Draw(t, "a"), rapid.Int64Range(1, 1e9).Draw(t, "b"))
		rate := RateOf(exact)
		before := rate.DeepCopy()
		text, err := json.Marshal(rate)
		if err != nil {
			t.Fatal(err)
		}
		var read Rate
		if err := json.Unmarshal(text, &read); err != nil || read.Cmp(rate.Quantity) != 0 || !equality.Semantic.DeepEqual(rate, *before) {
			t.Fatalf("%s was read as %s, %v; it was %s before it was written", text, read, err, before)
		}
		got, _ := new(big.Rat).SetString(read.String())
		if below := new(big.Rat).Sub(exact, got); below.Sign() < 0 || below.Cmp(big.NewRat(1, 1e9)) >= 0 && exact.Cmp(big.NewRat(9e9, 1)) < 0 {
			t.Fatalf("%s is %s", exact.FloatString(12), read)
		}
	})
}

// It reads what a release before wrote.
func TestRatesReadQuantities(t *testing.T) {
	t.Parallel()
	var rate Rate
	if err := json.Unmarshal([]byte(`"600m"`), &rate); err != nil || rate.String() != "0.6" || rate.Cmp(resource.MustParse("0.6")) != 0 {
		t.Errorf("600m is read as %s, %v", rate, err)
	}
}
