#!/bin/bash
# AKS tells istiod outright; here it is told to look for itself.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
kubelets() { for n in $(k get nodes -l agentpool=nodepool1 -o name); do edit_status default "$n" ".status.nodeInfo.kubeletVersion = \"$1\""; done; }
native() { k -n $NS set env deployment/istiod-asm-1-30 "ENABLE_NATIVE_SIDECARS=$1" >/dev/null; k -n $NS rollout status deployment/istiod-asm-1-30 --timeout=60s >/dev/null; "$HERE/kubelet" wait asm-1-30; }
case $1 in
  before) kubelets v1.32.7; native auto ;;
  cleanup) kubelets v1.34.2; native true ;;
esac
