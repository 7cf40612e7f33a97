#!/usr/bin/env bash
# Generates everything that is derived from the API types: deep copies, clients,
# listers, informers, injection, the CRDs' schemas and the reference of their fields.
# It also writes the table of metrics from where they are defined. verify-codegen.sh checks that what is committed is what this prints.
set -o errexit -o nounset -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly module=sluice.dev/sluice
readonly apis=${module}/reconciler/apis
readonly client=${module}/reconciler/client
readonly header=hack/boilerplate/boilerplate.go.txt
export GOFLAGS=-mod=mod

rm -rf reconciler/client
find reconciler/apis -name 'zz_generated.*' -delete

echo "deep copies"
go tool deepcopy-gen --go-header-file "${header}" --output-file zz_generated.deepcopy.go \
  "${apis}/sluice/v1alpha1"

echo "clients, listers, informers"
go tool client-gen --go-header-file "${header}" --clientset-name versioned \
  --input-base "${apis}" --input sluice/v1alpha1 \
  --output-dir reconciler/client/clientset --output-pkg "${client}/clientset"
go tool lister-gen --go-header-file "${header}" \
  --output-dir reconciler/client/listers --output-pkg "${client}/listers" "${apis}/sluice/v1alpha1"
go tool informer-gen --go-header-file "${header}" \
  --versioned-clientset-package "${client}/clientset/versioned" --listers-package "${client}/listers" \
  --output-dir reconciler/client/informers --output-pkg "${client}/informers" "${apis}/sluice/v1alpha1"

echo "injection"
go tool injection-gen --go-header-file "${header}" \
  --versioned-clientset-package "${client}/clientset/versioned" --listers-package "${client}/listers" \
  --external-versions-informers-package "${client}/informers/externalversions" \
  --output-dir reconciler/client/injection --output-package "${client}/injection" \
  --input-dirs "${apis}/sluice/v1alpha1"
# Istio publishes clients, but none for Knative's injection.
go tool injection-gen --go-header-file "${header}" \
  --versioned-clientset-package istio.io/client-go/pkg/clientset/versioned \
  --listers-package istio.io/client-go/pkg/listers \
  --external-versions-informers-package istio.io/client-go/pkg/informers/externalversions \
  --output-dir reconciler/client/istio/injection --output-package "${client}/istio/injection" \
  --input-dirs istio.io/client-go/pkg/apis/networking/v1,istio.io/client-go/pkg/apis/networking/v1alpha3

echo "CRD schemas"
go tool -modfile=hack/tools/go.mod controller-gen crd:headerFile=hack/boilerplate/boilerplate.yaml.txt \
  paths=./reconciler/apis/sluice/... output:crd:dir=config/core/crds
mv config/core/crds/sluice.dev_{batches,inferencetriggers}.yaml config/batch/crds/ # a part of its own
mv config/core/crds/sluice.dev_usages.yaml config/observability/crds/ # so is this one
serving=$(go list -m -f '{{.Dir}}' knative.dev/serving)
eventing=$(go list -m -f '{{.Dir}}' knative.dev/eventing)
readonly serving eventing
go run ./hack/crdschema "${serving}/config/core/300-resources/service.yaml" "${eventing}/config/core/resources/trigger.yaml" \
  config/core/crds/sluice.dev_models.yaml config/core/crds/sluice.dev_tenants.yaml config/batch/crds/sluice.dev_{batches,inferencetriggers}.yaml

echo "field reference"
go run ./hack/fields config/core/crds/sluice.dev_models.yaml config/core/crds/sluice.dev_tenants.yaml \
  config/batch/crds/sluice.dev_{batches,inferencetriggers}.yaml >docs/fields.md

echo "table of metrics"
go run ./hack/metrics
