#!/usr/bin/env bash
# Fails if what is committed is not what update-codegen.sh generates.
set -o errexit -o nounset -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

copy=$(mktemp -d)
trap 'rm -rf "${copy}"' EXIT
git ls-files -z --cached --others --exclude-standard | tar --null --files-from - -c | tar -x -C "${copy}"
"${copy}/hack/update-codegen.sh" >/dev/null
for path in reconciler config/core/crds config/batch/crds config/observability/crds docs/fields.md docs/metrics.md; do
  diff -ru "${path}" "${copy}/${path}" || { echo "run make generate" >&2; exit 1; }
done
