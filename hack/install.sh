#!/usr/bin/env bash
# Builds Sluice's images with ko and applies config/ to the current cluster, then
# waits until everything is up. Applying the same again changes nothing. What else it goes by:
#   SLUICE_REPLICAS          pods of webhook, limiter and controller each, 1 by default
#   SLUICE_QUEUE_PROXY       true for Sluice's queue-proxy instead of Knative's
#   SLUICE_BATCH             true for kind Batch, and what runs it
#   SLUICE_OBSERVABILITY     true for the collectors of logs, metrics and traces, and what adds up usage
#   SLUICE_POD_LOGS          where nodes keep pods' logs, /var/log/pods by default
#   SLUICE_NETWORK_POLICIES  true for NetworkPolicies around Sluice's own pods
set -o errexit -o nounset -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source hack/quiet.sh
source hack/queue-proxy.sh

readonly replicas=${SLUICE_REPLICAS:-1}
if [[ ! "${replicas}" =~ ^[1-9]$ ]]; then
  echo "SLUICE_REPLICAS is ${replicas}, must be from 1 to 9" >&2
  exit 1
fi

if [[ "${SLUICE_BATCH:-}" != true && -n "$(kubectl get inferencetriggers.sluice.dev --all-namespaces -o name 2>/dev/null)" ]]; then
  echo "There are InferenceTriggers (kubectl get inferencetriggers -A), and nobody would take their events:" \
    "install with SLUICE_BATCH=true, or delete them first" >&2
  exit 1
fi

if [[ "${SLUICE_BATCH:-}" != true && -n "$(kubectl get brokers.eventing.knative.dev --all-namespaces -l sluice.dev/batch-requests=true -o name 2>/dev/null)" ]]; then
  echo "There are Brokers whose events ask for Batches (kubectl get brokers -A -l sluice.dev/batch-requests=true), and nobody would take" \
    "these: install with SLUICE_BATCH=true, or take the label sluice.dev/batch-requests off them first" >&2
  exit 1
fi

apply() { kubectl apply --server-side --force-conflicts --field-manager sluice-install "$@"; }
export KO_CONFIG_PATH=ko.yaml
sources=(-f config/core -f config/istio -f config/eventing)
if [[ "${SLUICE_QUEUE_PROXY:-}" == true ]]; then sources+=(-f config/queue-proxy); fi
resolve() { ko resolve ${SLUICE_INSECURE_REGISTRY:-} --base-import-paths "$@"; }

echo "Sluice: building images"
manifests=$(quiet resolve "${sources[@]}")
# Of all that is installed, Sluice's own Deployments alone say how many there are.
manifests=${manifests//replicas: 1$'\n'/replicas: ${replicas}$'\n'}
batch=
if [[ "${SLUICE_BATCH:-}" == true ]]; then batch=$(quiet resolve -f config/batch); fi

observability=
if [[ "${SLUICE_OBSERVABILITY:-}" == true ]]; then
  # Of a module of its own, which ko builds in its folder alone.
  collector=$(hack/build-image.sh ./cmd/collector)
  observability=$(awk 'FNR == 1 { print "---" } 1' config/observability/*.yaml)
  observability=$(quiet resolve -f - <<<"${observability//ko:\/\/sluice.dev\/sluice\/cmd\/collector/${collector}}")
  observability=${observability//path: \/var\/log\/pods/path: ${SLUICE_POD_LOGS:-/var/log/pods}}
fi

echo "Sluice: installing"
if [[ "${SLUICE_QUEUE_PROXY:-}" == true ]]; then note_queue_proxy; else restore_queue_proxy; fi
{
  # Kinds and namespaces come before what uses them.
  apply -f config/core/100-namespace.yaml -f config/istio/100-namespace.yaml -f config/core/crds
  kubectl wait --for=condition=Established --timeout=60s -f config/core/crds
  if [[ -n "${batch}" ]]; then
    apply -f config/batch/crds
    kubectl wait --for=condition=Established --timeout=60s -f config/batch/crds
  fi
  if [[ -n "${observability}" ]]; then
    apply -f config/observability/crds
    kubectl wait --for=condition=Established --timeout=60s -f config/observability/crds
  fi
  apply -f - <<<"${manifests}"
  # What has run stays, with its kind; nobody runs any more of it.
  if [[ -n "${batch}" ]]; then
    apply -f - <<<"${batch}"
  else
    kubectl delete --ignore-not-found -f config/batch/500-batch.yaml -f config/batch/210-batch-rbac.yaml
  fi
  # What was used stays, with its kind; nobody adds to it.
  if [[ -n "${observability}" ]]; then
    apply -f config/observability/100-namespace.yaml
    apply -f - <<<"${observability}"
  else
    for left in config/observability/{100,210,400,500,510}-*.yaml; do kubectl delete --ignore-not-found -f "${left}"; done
  fi
  # Where nobody authenticates, policies about it would keep the Broker from being Ready.
  features=$(kubectl -n knative-eventing get configmap config-features -o jsonpath='{.data.authentication-oidc}')
  if [[ "${features,,}" == enabled ]]; then
    apply -f config/eventing-authenticated
  else
    kubectl delete --ignore-not-found -f config/eventing-authenticated
  fi
  if [[ "${SLUICE_NETWORK_POLICIES:-}" == true ]]; then
    apply -f config/network-policies
  else
    kubectl delete --ignore-not-found -f config/network-policies
  fi
} >/dev/null

echo "Sluice: waiting until it is up"
{
  kubectl -n sluice-system rollout status --timeout=180s deployment/webhook deployment/limiter deployment/controller
  if [[ -n "${batch}" ]]; then kubectl -n sluice-system rollout status --timeout=180s deployment/batch; fi
  if [[ -n "${observability}" ]]; then
    kubectl -n sluice-system rollout status --timeout=180s deployment/usage deployment/collector-gateway
    kubectl -n sluice-agents rollout status --timeout=180s daemonset/collector-agent
  fi
  kubectl -n sluice-system wait --for=condition=Ready --timeout=120s broker/sluice trigger/limiter
  # The controller makes the gateway once the limiter has written its slots.
  kubectl -n sluice-gateways wait --for=create --timeout=60s deployment/shared
  kubectl -n sluice-gateways rollout status --timeout=180s deployment/shared
} >/dev/null
