package reading

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	quantity = reflect.TypeFor[resource.Quantity]()
	duration = reflect.TypeFor[metav1.Duration]()

	digits      = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)
	inBytes     = regexp.MustCompile(`^([0-9.]+)\s*([kKMGTP])i?[bB]?$`)
	perSecond   = regexp.MustCompile(`^([0-9.]+)\s*(/\s*s(ec(ond)?)?|rps|qps|r/s|req/s)$`)
	fraction    = regexp.MustCompile(`^([0-9.]+)\s*/\s*([0-9.]+)$`)
	inUnit      = regexp.MustCompile(`^([0-9]+)\s*([a-zA-Z]+)$`)
	timeUnits   = map[string]string{"sec": "s", "second": "s", "seconds": "s", "secs": "s", "min": "m", "mins": "m", "minute": "m", "minutes": "m", "hour": "h", "hours": "h", "millis": "ms"}
	aboutBytes  = regexp.MustCompile(`(memory|ephemeral-storage|hugepages|storage|sizeLimit)[^.]*$`)
	aboutARate  = regexp.MustCompile(`requestsPerSecond(PerReplica)?$`)
	aboutShare  = regexp.MustCompile(`objective\.(availability|latency\.percent)$`)
	inPercent   = regexp.MustCompile(`^([0-9.]+)\s*(%|percent)$`)
	longestTime = 100 * 365 * 24 * time.Hour
)

// wanted says what a value of a type would be, as near as can be to the one that was
// written.
func wanted(value any, t reflect.Type, path string) string {
	if text, ok := plain(value); ok && len(text) > longestShown {
		value = json.Number("…")
	}
	text, isText := value.(string)
	if len(text) > longestShown {
		text, value = "…", "…"
	}
	switch t {
	case duration:
		return wantedDuration(value)
	case quantity:
		return wantedQuantity(value, path)
	case intOrString:
		return "must be a whole number or a name"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "must be true or false, without quotes"
	case reflect.String:
		if text, ok := plain(value); ok {
			return fmt.Sprintf("must be text; put it in quotes: %q", text)
		}
		return "must be text"
	case reflect.Float32, reflect.Float64:
		return "must be a number"
	case reflect.Slice:
		return "must be bytes in base64"
	}
	if isText && digits.MatchString(text) && !strings.Contains(text, ".") {
		return "must be a whole number; take the quotes away: " + text
	}
	return "must be a whole number that is not too large"
}

// plain is a number or a truth value as it was written without quotes.
func plain(value any) (string, bool) {
	switch v := value.(type) {
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

func wantedDuration(value any) string {
	text, ok := value.(string)
	if number, isNumber := plain(value); isNumber {
		text, ok = number, true
	}
	text = strings.TrimSpace(text)
	unit := inUnit.FindStringSubmatch(text)
	switch {
	case !ok:
		return `must be a time with its unit, as in "30s", "5m" or "1h30m"`
	case digits.MatchString(text):
		return fmt.Sprintf(`must be a time with its unit: "%ss" for seconds, "%sms" for milliseconds`, text, text)
	case unit != nil && strings.EqualFold(unit[2], "d"):
		if days, err := time.ParseDuration(unit[1] + "h"); err == nil && days < longestTime/24 {
			return fmt.Sprintf(`must be a time in hours, minutes and seconds: "%.0fh" for days`, (24 * days).Hours())
		}
	case unit != nil && timeUnits[strings.ToLower(unit[2])] != "":
		return fmt.Sprintf(`must be a time with a unit that is known: "%s%s"`, unit[1], timeUnits[strings.ToLower(unit[2])])
	}
	return `must be a time with its unit, as in "30s", "5m" or "1h30m"`
}

func wantedQuantity(value any, path string) string {
	text, _ := value.(string)
	text = strings.TrimSpace(text)
	if aboutShare.MatchString(path) {
		if percent := inPercent.FindStringSubmatch(text); percent != nil {
			return "must be a number of percent, without a sign: " + percent[1]
		}
		return "must be a number of percent, as in 99 or 99.9"
	}
	switch bytes, rate, part := inBytes.FindStringSubmatch(text), perSecond.FindStringSubmatch(text), fraction.FindStringSubmatch(text); {
	case aboutARate.MatchString(path) && rate != nil:
		return "must be a number of requests per second, without a unit: " + rate[1]
	case aboutARate.MatchString(path) && part != nil:
		if as, ok := divided(part[1], part[2]); ok {
			return "must be a number of requests per second: " + as
		}
	case aboutARate.MatchString(path):
		return "must be a number of requests per second, as in 40 or 0.5"
	case bytes != nil:
		return fmt.Sprintf("must be a number of bytes with one of Kubernetes' units: %s%si", bytes[1], strings.ToUpper(bytes[2]))
	case aboutBytes.MatchString(path):
		return "must be a number of bytes with one of Kubernetes' units, as in 512Mi or 2Gi"
	}
	return "must be a number, with one of Kubernetes' units where it needs one, as in 500m, 2 or 512Mi"
}

// divided is a quotient in digits, rounded down to billionths, which is what a quantity
// can say.
func divided(above, below string) (string, bool) {
	a, errA := resource.ParseQuantity(above)
	b, errB := resource.ParseQuantity(below)
	if errA != nil || errB != nil || b.Sign() <= 0 {
		return "", false
	}
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.9f", a.AsApproximateFloat64()/b.AsApproximateFloat64()), "0"), "."), true
}
