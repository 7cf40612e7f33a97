# Sourced by the scripts beside it: which queue-proxy Knative Serving runs. It is every
# Knative Service's, so Knative's own is noted before Sluice's takes its place, and comes back.

readonly noted=sluice.dev/queue-sidecar-image
deployment_config() { kubectl -n knative-serving get configmap config-deployment -o "jsonpath=$1"; }

# is_ours tells Sluice's image by its name, which is queue-proxy.
is_ours() {
  local name=${1##*/}
  name=${name%%@*}
  [[ "${name%%:*}" == queue-proxy ]]
}

note_queue_proxy() {
  local now
  now=$(deployment_config '{.data.queue-sidecar-image}')
  if ! is_ours "${now}"; then
    kubectl -n knative-serving annotate --overwrite configmap config-deployment "${noted}=${now}" >/dev/null
  fi
}

# restore_queue_proxy goes by the note or, where there is none, by what Knative's own
# manifests say to nodes that pull images ahead.
restore_queue_proxy() {
  local before
  if ! is_ours "$(deployment_config '{.data.queue-sidecar-image}')"; then return; fi
  before=$(deployment_config '{.metadata.annotations.sluice\.dev/queue-sidecar-image}')
  if [[ -z "${before}" ]]; then
    before=$(kubectl -n knative-serving get images.caching.internal.knative.dev queue-proxy -o 'jsonpath={.spec.image}' 2>/dev/null) || before=
  fi
  if [[ -z "${before}" ]]; then
    echo "Sluice: Knative Serving still runs Sluice's queue-proxy, and what it ran before isn't known:" \
      "set queue-sidecar-image in knative-serving/config-deployment to the image of your Knative release" >&2
    return
  fi
  echo "Sluice: Knative's own queue-proxy is back, which rolls every Knative Service"
  kubectl -n knative-serving patch configmap config-deployment --type merge \
    -p "{\"data\":{\"queue-sidecar-image\":\"${before}\"},\"metadata\":{\"annotations\":{\"${noted}\":null}}}" >/dev/null
}
