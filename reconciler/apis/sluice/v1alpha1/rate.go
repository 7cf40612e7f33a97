package v1alpha1

import (
	"math/big"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Rate is a number of requests per second that was observed. It is a Quantity that is
// written as people write rates: 0.6 and 33.5, where a Quantity would be 600m and 33500m.
//
// +kubebuilder:validation:Type=string
type Rate struct {
	resource.Quantity `json:"-"`
}

// RateOf is a rate, rounded down to billionths of a request per second, where it is not
// beyond any that can be limited.
func RateOf(r *big.Rat) Rate {
	for _, scale := range []resource.Scale{resource.Nano, resource.Milli} {
		parts := new(big.Int).Exp(big.NewInt(10), big.NewInt(-int64(scale)), nil)
		parts.Quo(parts.Mul(parts, r.Num()), r.Denom())
		if parts.IsInt64() {
			return Rate{*resource.NewScaledQuantity(parts.Int64(), scale)}
		}
	}
	return Rate{*resource.NewQuantity(1<<62, resource.DecimalSI)}
}

// String is the rate in digits.
func (r Rate) String() string { return decimal(r.Quantity) }

// MarshalJSON implements json.Marshaler.
func (r Rate) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(r.String())), nil }

// decimal is a quantity in digits, without a suffix.
func decimal(q resource.Quantity) string {
	q = q.DeepCopy() // AsDec changes how it is kept
	text := q.AsDec().String()
	if rat, ok := new(big.Rat).SetString(text); ok {
		digits, _ := rat.FloatPrec()
		return rat.FloatString(digits)
	}
	return text
}
