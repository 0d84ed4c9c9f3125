#!/bin/bash
# Ended by making the pods anew: as everywhere here, they come up ready.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
down() { [ -z "$(k -n $IGW get deployment aks-istio-ingressgateway-external-asm-1-30 -o jsonpath='{.status.readyReplicas}')" ]; }
case $1 in
  before)
    for p in $(k -n $IGW get pods -o name); do edit_status $IGW "$p" not_ready; done
    poll 30 down ;;
  cleanup)
    k -n $IGW delete pods --all --force --grace-period=0 >/dev/null 2>&1
    k -n $IGW rollout status deployment/aks-istio-ingressgateway-external-asm-1-30 --timeout=60s >/dev/null ;;
esac
