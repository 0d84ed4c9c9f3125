#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
set_cni() { k -n $NS get configmap istio-sidecar-injector-asm-1-30 -o json | jq --argjson on "$1" '.data.values |= (fromjson | .pilot.cni.enabled = $on | tojson)' | k replace -f - >/dev/null; }
case $1 in
  before) set_cni true ;;
  cleanup) set_cni false ;;
esac
