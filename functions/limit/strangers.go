package limit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"
	"istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// Kinds of interference with slots, as metrics have them.
const (
	edited     = "edited"
	deleted    = "deleted"
	duplicated = "duplicated"
)

// extensionNames are those that slots can have, slotSuffixes what can follow a gateway's
// name in the names of their objects.
var extensionNames, slotSuffixes = func() (extensions, suffixes sets.Set[string]) {
	extensions, suffixes = sets.New[string](), sets.New[string]()
	for i := range gateway.MaxSlots {
		for _, e := range gateway.Entries() {
			extensions.Insert(gateway.ExtensionName(e, i))
		}
		for count := i + 1; count <= gateway.MaxSlots; count++ {
			suffixes.Insert(gateway.SlotObjectName("", count, i))
		}
	}
	return extensions, suffixes
}()

// suppliesSlot is true for an EnvoyFilter that has an extension of a slot's name.
// Where two of them reach a pod, Envoy refuses all that it is sent of them, and every
// slot stays as it was.
func suppliesSlot(f *istio.EnvoyFilter) bool {
	return slices.ContainsFunc(f.Spec.GetConfigPatches(), func(p *v1alpha3.EnvoyFilter_EnvoyConfigObjectPatch) bool {
		return p.GetApplyTo() == v1alpha3.EnvoyFilter_EXTENSION_CONFIG &&
			extensionNames.Has(p.GetPatch().GetValue().GetFields()["name"].GetStringValue())
	})
}

// isSlot is true for the one object that is to supply a slot of a gateway, also of one
// that is being taken down. A copy by hand has its labels, but not its name.
func isSlot(f metav1.Object) bool {
	of := f.GetLabels()[gateway.LabelKey]
	suffix, ok := strings.CutPrefix(f.GetName(), of)
	return ok && of != "" && f.GetNamespace() == gateway.Namespace && slotSuffixes.Has(suffix)
}

// sortOut fills in what is written, and what others wrote in its way. Where slots lost
// their label they are among the others.
func (s *state) sortOut(labelled []*metav1.PartialObjectMetadata, others []*istio.EnvoyFilter) {
	for _, f := range labelled {
		if isSlot(f) {
			s.slots[f.Name] = f
		} else {
			s.strangers = append(s.strangers, f)
		}
	}
	for _, f := range others {
		switch {
		case isSlot(f):
			s.slots[f.Name] = metadataOf(f)
		case suppliesSlot(f):
			s.strangers = append(s.strangers, metadataOf(f))
		case f.Namespace == gateway.Namespace: // what inserts slots
			s.count(f.Labels[gateway.LabelKey], gateway.SlotsOf(f.Labels))
		}
	}
	slices.SortFunc(s.strangers, func(a, b *metav1.PartialObjectMetadata) int { return strings.Compare(named(a), named(b)) })
}

func metadataOf(f *istio.EnvoyFilter) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: f.ObjectMeta}
}

func named(f metav1.Object) string { return f.GetNamespace() + "/" + f.GetName() }

// expel deletes duplicates of slots from the gateways' namespace, which is ours, and
// returns the names of those elsewhere: in the mesh's root namespace one reaches every
// gateway, but it isn't for us to delete.
func (f *Function) expel(ctx context.Context, strangers []*metav1.PartialObjectMetadata) (elsewhere []string, err error) {
	var errs []error
	for _, s := range strangers {
		if s.Namespace != gateway.Namespace {
			elsewhere = append(elsewhere, named(s))
			continue
		}
		err := f.Slots.Delete(ctx, s)
		switch {
		case apierrs.IsNotFound(err), apierrs.IsConflict(err): // gone, and the cache will say so
		case err != nil:
			errs = append(errs, fmt.Errorf("deleting EnvoyFilter %s, which duplicates a slot: %w", named(s), err))
		default:
			f.interfered(s, duplicated, "Deleted: it had an extension of a slot's name, so Envoy would refuse every limit")
		}
	}
	return elsewhere, errors.Join(errs...)
}

// notice tells of slots that were seen as they should be and aren't any more. Nobody
// but the limiter writes them.
func (f *Function) notice(name string, s *slot, have *metav1.PartialObjectMetadata) {
	switch {
	case s.standing == nil:
	case have == nil:
		f.interfered(s.filter, deleted, "Created again: "+name+" was deleted")
	default:
		f.interfered(have, edited, "Written again: it was edited")
	}
	s.standing = nil
}

// interfered counts and tells of what others did to slots.
func (f *Function) interfered(with metav1.Object, how, message string) {
	repairs.WithLabelValues(how).Inc()
	f.Log.Warnw("Slot repaired", zap.String("envoyFilter", named(with)), zap.String("was", how))
	f.Recorder.Event(&corev1.ObjectReference{
		APIVersion: istio.SchemeGroupVersion.String(), Kind: "EnvoyFilter",
		Namespace: with.GetNamespace(), Name: with.GetName(), UID: with.GetUID(), ResourceVersion: with.GetResourceVersion(),
	}, corev1.EventTypeWarning, "Slot"+strings.ToUpper(how[:1])+how[1:], message)
}
