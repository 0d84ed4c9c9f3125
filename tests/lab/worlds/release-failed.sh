#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in cleanup) k -n $NS delete secret sh.helm.release.v1.azure-service-mesh-istio-discovery.v3 --ignore-not-found >/dev/null ;; esac
