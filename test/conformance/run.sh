#!/usr/bin/env bash
# Runs Knative's conformance suite for ingress classes, stable, beta and alpha
# features, against Sluice on the current cluster. Its images are built by ko.
set -o errexit -o nounset -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ../../hack/quiet.sh

# Apart from the images of Knative Serving's own suite, which have the same names.
export KO_DOCKER_REPO=${KO_DOCKER_REPO}/networking-conformance
tag=sluice
# The suite's own; it can't be told another.
namespace=serving-tests
mine="metadata.labels.sluice\.dev/conformance"

images() {
  go list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' knative.dev/networking/test/test_images/... |
    xargs ko build ${SLUICE_INSECURE_REGISTRY:-} --base-import-paths --tags "${tag}"
}

# What an earlier run that was killed left behind would be in this one's way; a
# namespace that somebody else made stays.
clean() {
  if [[ -n $(kubectl get namespace "${namespace}" --ignore-not-found -o "jsonpath={.${mine}}") ]]; then
    kubectl delete namespace "${namespace}" --timeout=180s >/dev/null
  fi
}

echo "Conformance: building the suite's images"
quiet images >/dev/null

clean
trap clean EXIT
if ! kubectl get namespace "${namespace}" >/dev/null 2>&1; then
  kubectl create -f - >/dev/null <<YAML
{apiVersion: v1, kind: Namespace, metadata: {name: ${namespace}, labels: {sluice.dev/conformance: "true"}}}
YAML
fi

echo "Conformance: running the suite"
# Few at a time: what a test measures must not be the machine.
go test -tags e2e -run '^TestIngressConformance$' -count 1 -parallel 2 -timeout 15m -json . -args \
  -ingressClass sluice.ingress.networking.knative.dev -enable-beta -enable-alpha \
  -dockerrepo "${KO_DOCKER_REPO}" -tag "${tag}" | go run .
