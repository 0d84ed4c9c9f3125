#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  before) "$HERE/addon" asm-1-29; "$HERE/kubelet" wait asm-1-29; "$HERE/gateway" asm-1-29
    k -n $IGW rollout status deployment/aks-istio-ingressgateway-external-asm-1-29 --timeout=60s >/dev/null ;;
  cleanup) "$HERE/gateway" asm-1-29 remove; "$HERE/addon" asm-1-29 remove ;;
esac
