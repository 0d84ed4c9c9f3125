#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
set_cni() { k -n $NS get configmap istio-sidecar-injector-asm-1-30 -o json | jq --argjson on "$1" '.data.values |= (fromjson | .pilot.cni.enabled = $on | tojson)' | k replace -f - >/dev/null; }
case $1 in
  after) set_cni true; k -n $NS rollout status daemonset/azure-service-mesh-istio-cni-addon-node --timeout=60s >/dev/null ;;
  cleanup) set_cni false; k -n $NS delete daemonset azure-service-mesh-istio-cni-addon-node --ignore-not-found --cascade=foreground >/dev/null ;;
esac
