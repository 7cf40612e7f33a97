#!/usr/bin/env bash
# Lints each module that is named with the settings of .golangci.yaml.
set -o errexit -o nounset -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
for module in "$@"; do
  (cd "$module" && go tool -modfile="$root/hack/tools/go.mod" golangci-lint run --config "$root/.golangci.yaml" ./...)
done
