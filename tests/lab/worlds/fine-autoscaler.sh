#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
gateway=aks-istio-ingressgateway-external-asm-1-30
replicas() { k -n $NS patch hpa istiod-asm-1-30 --type merge -p "{\"spec\": {\"minReplicas\": $1, \"maxReplicas\": $2}}" >/dev/null; k -n $NS scale deployment/istiod-asm-1-30 --replicas="$1" >/dev/null
  hpa_at_rest $NS istiod-asm-1-30; edit_status $NS hpa/istiod-asm-1-30 ".status.currentReplicas = $1 | .status.desiredReplicas = $1"; "$HERE/kubelet" wait asm-1-30; }
case $1 in
  before) replicas 3 10; k -n $IGW patch hpa $gateway --type merge -p '{"spec": {"maxReplicas": 12}}' >/dev/null ;;
  cleanup) k -n $IGW patch hpa $gateway --type merge -p '{"spec": {"maxReplicas": 5}}' >/dev/null; replicas 2 5 ;;
esac
