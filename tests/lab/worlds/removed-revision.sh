#!/bin/bash
# The pods get a real sidecar of asm-1-28; then that revision is removed.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  before) "$HERE/addon" asm-1-28; "$HERE/kubelet" wait asm-1-28 ;;
  after) k -n billing rollout status deployment/web deployment/worker --timeout=60s >/dev/null; "$HERE/addon" asm-1-28 remove ;;
  cleanup) "$HERE/addon" asm-1-28 remove ;;
esac
