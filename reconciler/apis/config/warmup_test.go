package config

import (
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

func TestWarmUpFromConfigMap(t *testing.T) {
	t.Parallel()
	got, err := NewWarmUpFromConfigMap(&corev1.ConfigMap{Data: map[string]string{"_example": "cpu-limit: 7"}})
	if err != nil || !equality.Semantic.DeepEqual(got, DefaultWarmUp()) {
		t.Errorf("of an empty one: %v, %+v", err, got)
	}
	got, err = NewWarmUpFromConfigMap(&corev1.ConfigMap{Data: map[string]string{
		"cpu-request": "50m", "cpu-limit": "1", "memory-request": "64Mi", "memory-limit": "128Mi",
		"ephemeral-storage-request": "1Mi", "ephemeral-storage-limit": "1Gi",
	}})
	want := &WarmUp{Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
			corev1.ResourceEphemeralStorage: resource.MustParse("1Mi"),
		},
		Limits: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("128Mi"),
			corev1.ResourceEphemeralStorage: resource.MustParse("1Gi"),
		},
	}}
	if err != nil || !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("got %v, %+v, want %+v", err, got, want)
	}
}

// The example in the manifest shows the keys that have a default, and names the others.
func TestWarmUpExample(t *testing.T) {
	t.Parallel()
	manifest, err := os.ReadFile("../../../config/core/400-config-warm-up.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cm, example := &corev1.ConfigMap{}, map[string]string{}
	if err := yaml.Unmarshal(manifest, cm); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(cm.Data["_example"]), &example); err != nil {
		t.Fatal(err)
	}
	got, err := NewWarmUpFromConfigMap(&corev1.ConfigMap{Data: example})
	if err != nil || !equality.Semantic.DeepEqual(got, DefaultWarmUp()) || cm.Name != WarmUpName {
		t.Errorf("the example of %s says %+v (%v), the defaults are %+v", cm.Name, got, err, DefaultWarmUp())
	}
	for _, name := range sized {
		for _, key := range []string{string(name) + requestSuffix, string(name) + limitSuffix} {
			if !slices.Contains(strings.FieldsFunc(cm.Data["_example"], func(r rune) bool { return strings.ContainsRune(" \n:,.", r) }), key) {
				t.Errorf("the example doesn't name %s", key)
			}
		}
	}
}

func TestWarmUpRefuses(t *testing.T) {
	t.Parallel()
	for says, data := range map[string]map[string]string{
		`unknown keys ["cpu"]`:                               {"cpu": "10m"},
		`memory-limit is "64Mb", must be a quantity`:         {"memory-limit": "64Mb"},
		"cpu-request is 0, must be above zero":               {"cpu-request": "0"},
		"memory-limit is 8Mi, must be at least memory-reque": {"memory-limit": "8Mi"},
	} {
		if _, err := NewWarmUpFromConfigMap(&corev1.ConfigMap{Data: data}); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), WarmUpName) {
			t.Errorf("%v: %v, want %q", data, err, says)
		}
	}
}
