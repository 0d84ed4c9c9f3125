#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  before) "$HERE/addon" asm-1-28; "$HERE/kubelet" wait asm-1-28 ;;
  after) k -n genuine rollout status deployment/web --timeout=60s >/dev/null; "$HERE/sidecar" genuine "$(pod_of genuine app=web)" ;;
  cleanup) "$HERE/sidecar" genuine "$(pod_of genuine app=web)" off || true; "$HERE/addon" asm-1-28 remove ;;
esac
