#!/usr/bin/env bash
# Builds one image with ko, pushes it to KO_DOCKER_REPO and prints its reference: of the
# program in a folder, or of a package that the folder's module needs. The folder may hold
# a module of its own.
set -o errexit -o nounset -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source hack/quiet.sh
cd "$1"
quiet ko build ${SLUICE_INSECURE_REGISTRY:-} --base-import-paths "${2:-.}"
