package receiver

import (
	"fmt"
	"strings"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// Origin is where an event comes from.
type Origin struct {
	// Delivered is the namespace of who delivers it, as the door knows it.
	Delivered string
	// Source is the namespace that its source names; "" where it names none. It is what
	// the event says of itself: it can take rights away and give none.
	Source string
}

// MayAct decides who may act on whose objects: it returns why an event may not be about
// one in a namespace ("" for one that is in none), and nil if it may. Sluice's own
// namespace delivers for all; everybody else for their own namespace. Wherever it is
// delivered, what one namespace is the source of is about none of another's.
func MayAct(from Origin, namespace string) error {
	switch {
	case from.Source != "" && from.Source != namespace:
		return fmt.Errorf("source is of namespace %q, but subject is %s", brief(from.Source), place(namespace))
	case from.Delivered != sluice.SystemNamespace && (from.Delivered != namespace || namespace == ""):
		return fmt.Errorf("subject is %s: events from namespace %q are about its own objects alone", place(namespace), from.Delivered)
	}
	return nil
}

func place(namespace string) string {
	if namespace == "" {
		return "of the whole cluster"
	}
	return fmt.Sprintf("of namespace %q", brief(namespace))
}

// namespaceOf is the namespace in a source that is an API path, as our own are; "" where
// there is none.
func namespaceOf(source string) string {
	_, rest, ok := strings.Cut(source, "/namespaces/")
	if !ok {
		return ""
	}
	namespace, _, _ := strings.Cut(rest, "/")
	return namespace
}
