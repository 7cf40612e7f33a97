#!/usr/bin/env bash
# Takes Sluice out of the current cluster, in one of two ways.
#
# By itself, Models go, and with them what serves them. With SLUICE_HANDOVER=<ingress class>
# they go on as plain Knative Services, which that class serves from then on, as it does those
# that named Sluice's class themselves; gateways keep serving what they have, so that names can
# be led elsewhere first, until this runs once more without.
set -o errexit -o nounset -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source hack/queue-proxy.sh

readonly class=sluice.ingress.networking.knative.dev
readonly ingresses=ingresses.networking.internal.knative.dev
readonly handover=${SLUICE_HANDOVER:-}

# What Knative has to say of a template is no news to whoever only annotates its Service.
quietly() { "$@" 2> >(grep -v '^Warning: Kubernetes default value is insecure' >&2) >/dev/null; }

remove() { kubectl delete --ignore-not-found --timeout=180s "$@" >/dev/null; }

# of_class prints namespace, name and, if there is one, the kind of the owner of a kind's
# objects that name Sluice's class, by either of Knative's keys.
of_class() {
  kubectl get "$1" --all-namespaces -o 'jsonpath={range .items[*]}{.metadata.namespace}|{.metadata.name}|{.metadata.annotations.networking\.knative\.dev/ingress\.class}|{.metadata.annotations.networking\.knative\.dev/ingress-class}|{.metadata.ownerReferences[0].kind}{"\n"}{end}' |
    awk -F '|' -v class="${class}" '$3 == class || $4 == class {print $1, $2, $5}'
}

# until_none waits until a command prints nothing.
until_none() {
  local what=$1 left
  shift
  for ((i = 0; i < 180; i++)); do
    left=$("$@")
    if [[ -z "${left}" ]]; then return; fi
    sleep 1
  done
  echo "Sluice: ${what} are still there after three minutes; see what keeps them, and run this again:" >&2
  echo "${left}" >&2
  return 1
}

# of_models are what Models own, and have Sluice's finalizer on.
of_models() { kubectl get "services.serving.knative.dev,${ingresses}" --all-namespaces -l sluice.dev/model -o name; }

writers() {
  kubectl -n sluice-system get pods -l 'app.kubernetes.io/name=sluice, app.kubernetes.io/component in (controller, limiter, batch)' -o name
}

# stop_writers has nobody put back what is taken away from here on, nor take more away. The
# webhook, which nobody asks any more, takes longest to end.
stop_writers() {
  if kubectl get namespace sluice-system >/dev/null 2>&1; then
    remove -n sluice-system deployments --all
    until_none "pods of the controller, the limiter and what runs batches" writers
  fi
}

# hand_over gives all that Sluice's class serves to another one. Of Models what they own stays;
# they go last, since Knative asks them for the address of a DomainMapping that names one.
hand_over() {
  local kind namespace name owner
  for kind in services.serving.knative.dev routes.serving.knative.dev domainmappings.serving.knative.dev; do
    of_class "${kind}" | while read -r namespace name owner; do
      quietly kubectl -n "${namespace}" annotate --overwrite "${kind}/${name}" \
        "networking.knative.dev/ingress-class=${handover}" networking.knative.dev/ingress.class-
    done
  done
  # Knative hands it on to the Ingresses that it made; not to those that were made by hand.
  of_class "${ingresses}" | while read -r namespace name owner; do
    if [[ -n "${owner}" ]]; then continue; fi
    kubectl -n "${namespace}" annotate --overwrite "${ingresses}/${name}" \
      "networking.knative.dev/ingress.class=${handover}" networking.knative.dev/ingress-class- >/dev/null
  done
  until_none "Ingresses of Sluice's class" of_class "${ingresses}"
  if kubectl get crd models.sluice.dev >/dev/null 2>&1; then
    kubectl delete models.sluice.dev --all --all-namespaces --cascade=orphan --timeout=180s >/dev/null
  fi
  # What is kept of how Models were tuned means nothing to anybody else.
  kubectl delete controllerrevisions --all-namespaces -l sluice.dev/model --ignore-not-found >/dev/null
}

of_trials() {
  kubectl get models.sluice.dev --all-namespaces -o jsonpath='{range .items[?(@.status.trial.phase=="Running")]}{.metadata.namespace}/{.metadata.name}{"\n"}{end}'
}

# end_trials puts what Models say themselves in force, while there is somebody who does.
end_trials() {
  if ! kubectl get crd models.sluice.dev >/dev/null 2>&1; then return; fi
  local namespace name
  kubectl get models.sluice.dev --all-namespaces -o jsonpath='{range .items[?(@.spec.trial)]}{.metadata.namespace} {.metadata.name}{"\n"}{end}' |
    while read -r namespace name; do
      kubectl -n "${namespace}" patch models.sluice.dev "${name}" --type merge -p '{"spec": {"trial": null}}' >/dev/null
    done
  until_none "trials of Models" of_trials
}

of_triggers() {
  kubectl get triggers.eventing.knative.dev --all-namespaces -l sluice.dev/inference-trigger,app.kubernetes.io/managed-by=sluice -o name
}

of_requests() {
  kubectl get triggers.eventing.knative.dev --all-namespaces -l sluice.dev/batch-requests,app.kubernetes.io/managed-by=sluice -o name
}

# remove_triggers has Brokers deliver no more events, while there is somebody who takes them. Triggers
# for requests would come back as long as their Brokers have the label, and nobody may be there to take
# them away without it.
remove_triggers() {
  if kubectl get crd brokers.eventing.knative.dev >/dev/null 2>&1; then
    kubectl label brokers.eventing.knative.dev --all-namespaces -l sluice.dev/batch-requests sluice.dev/batch-requests- >/dev/null
    remove triggers.eventing.knative.dev --all-namespaces -l sluice.dev/batch-requests,app.kubernetes.io/managed-by=sluice
    until_none "Triggers for requests for Batches" of_requests
  fi
  if kubectl get crd inferencetriggers.sluice.dev >/dev/null 2>&1; then
    kubectl delete inferencetriggers.sluice.dev --all --all-namespaces --timeout=180s >/dev/null
    until_none "Triggers of InferenceTriggers" of_triggers
  fi
}

# remove_models takes away Models while the controller is there to end what they have.
remove_models() {
  if kubectl get crd models.sluice.dev >/dev/null 2>&1; then
    kubectl delete models.sluice.dev --all --all-namespaces --timeout=180s >/dev/null
    until_none "Knative Services and Ingresses of Models" of_models
  fi
}

# release takes Sluice's finalizer off what it will finish no more.
release() {
  local namespace name owner
  of_class "${ingresses}" | while read -r namespace name owner; do
    echo "Sluice: Ingress ${namespace}/${name} stays, and nobody serves it: give what owns it another ingress class"
    kubectl -n "${namespace}" patch "${ingresses}/${name}" --type merge -p '{"metadata":{"finalizers":null}}' >/dev/null
  done
  if kubectl get crd tenants.sluice.dev >/dev/null 2>&1; then
    kubectl get tenants.sluice.dev -o name | while read -r name; do
      kubectl patch "${name}" --type merge -p '{"metadata":{"finalizers":null}}' >/dev/null
    done
  fi
}

# remove_domains takes tenants' domains out of Knative's config-domain, unless there are
# Knative Services left that have them, which were handed over.
remove_domains() {
  local domain selector
  if [[ -n "$(kubectl get services.serving.knative.dev --all-namespaces -l sluice.dev/tenant -o name)" ]]; then return; fi
  kubectl -n knative-serving get configmap config-domain \
    -o 'go-template={{range $domain, $selector := .data}}{{$domain}} {{printf "%q" $selector}}{{"\n"}}{{end}}' |
    while read -r domain selector; do
      if [[ "${domain}" != _* && "${selector}" == *sluice.dev/tenant:* ]]; then
        kubectl -n knative-serving patch configmap config-domain --type merge -p "{\"data\":{\"${domain}\":null}}" >/dev/null
      fi
    done
}

# remove_gateways takes pods away before their namespace. Kubernetes asks again for what is left
# of one after half the time that its pods may take to end, which is minutes here, whereas pods
# that have nothing under way end at once.
remove_gateways() {
  remove --wait=false -n sluice-gateways deployments --all
  for ((i = 0; i < 90; i++)); do
    if [[ -z "$(kubectl -n sluice-gateways get pods -o name)" ]]; then break; fi
    sleep 1
  done
  if ((i == 90)); then
    echo "Sluice: gateway pods still have requests under way, and end with them, after ten minutes at the latest by default;" \
      "namespace sluice-gateways goes with them"
  fi
  remove --wait=false -f config/istio
}

default=$(kubectl -n knative-serving get configmap config-network -o 'jsonpath={.data.ingress-class}{.data.ingress\.class}')
if [[ -n "${handover}" && "${default}" == *"${class}"* ]]; then
  echo "Sluice's class is the cluster's default, and would be that of what names none:" \
    "set ingress-class in knative-serving/config-network to ${handover} first" >&2
  exit 1
fi
if [[ "${handover}" == "${class}" ]]; then
  echo "SLUICE_HANDOVER is Sluice's own class: name the one that is to serve instead" >&2
  exit 1
fi

# A webhook that is gone must not keep anybody from writing.
remove -f config/core/510-webhook-configurations.yaml
remove_triggers
if [[ -n "${handover}" ]]; then
  echo "Sluice: handing over to ${handover}"
  end_trials
  stop_writers
  hand_over
else
  echo "Sluice: removing Models"
  remove_models
  stop_writers
  remove_domains
fi
release

echo "Sluice: removing itself"
restore_queue_proxy
if kubectl get crd eventpolicies.eventing.knative.dev >/dev/null 2>&1; then remove -f config/eventing-authenticated; fi
remove -f config/eventing
remove -f config/batch -f config/batch/crds
# What agents had still to send stays on the nodes, in /var/lib/sluice/collector.
remove -f config/observability -f config/observability/crds
remove -f config/core/crds
# As of the gateways' pods below.
kubectl -n sluice-system wait --for=delete --timeout=60s pods --all &>/dev/null || true
remove -f config/network-policies -f config/core
if [[ -n "${handover}" ]]; then
  remove -f config/istio/210-controller-rbac.yaml -f config/istio/210-limiter-rbac.yaml
  echo "Sluice: the gateways in sluice-gateways go on with what they had; run this again, without SLUICE_HANDOVER, once nobody asks them"
else
  remove_gateways
  if [[ "${default}" == *"${class}"* ]]; then
    echo "Sluice's class is still the cluster's default: set ingress-class in knative-serving/config-network to another one"
  fi
fi
