package v1alpha1

import (
	"fmt"
	"strconv"
	"strings"
)

// Amount is a decimal number in thousandths, so that sums of it are exact; written with three
// digits after the point, as text.
//
// +kubebuilder:validation:Type=string
// +kubebuilder:validation:Pattern=`^[0-9]+\.[0-9]{3}$`
type Amount int64

// thousandths of one.
const thousandths = 1000

// String is the amount in digits.
func (a Amount) String() string {
	sign, n := "", int64(a)
	if n < 0 {
		sign, n = "-", -n
	}
	return fmt.Sprintf("%s%d.%03d", sign, n/thousandths, n%thousandths)
}

// MarshalJSON implements json.Marshaler.
func (a Amount) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(a.String())), nil }

// UnmarshalJSON implements json.Unmarshaler.
func (a *Amount) UnmarshalJSON(text []byte) error {
	digits, err := strconv.Unquote(string(text))
	if err != nil {
		return fmt.Errorf("amount %s: must be text", text)
	}
	whole, part, ok := strings.Cut(digits, ".")
	if !ok || len(part) != len("000") {
		return fmt.Errorf("amount %q: must have three digits after the point", digits)
	}
	n, err := strconv.ParseInt(whole+part, 10, 64)
	if err != nil {
		return fmt.Errorf("amount %q: %w", digits, err)
	}
	*a = Amount(n)
	return nil
}
