#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  before) "$HERE/addon" asm-1-29; "$HERE/kubelet" wait asm-1-29 ;;
  cleanup) k -n $NS delete configmap istio-shared-configmap-asm-1-29 istio-shared-configmap-asm-1-30 --ignore-not-found >/dev/null; "$HERE/addon" asm-1-29 remove ;;
esac
