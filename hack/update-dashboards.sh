#!/usr/bin/env bash
# Generates the dashboards for Grafana. Their module's tests fail if what is committed is not
# what this writes.
set -o errexit -o nounset -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/dashboards"
go run . ../../config/observability/dashboards
