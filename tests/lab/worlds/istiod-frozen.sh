#!/bin/bash
# Frozen only when the proxies are there: those that come later would all be on the other one.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  after)
    k -n beside rollout status deployment/web --timeout=60s >/dev/null
    "$HERE/fleet" wait
    "$HERE/istiod" asm-1-30 hang-ready "$(pod_of $NS istio.io/rev=asm-1-30)" ;;
  cleanup) "$HERE/istiod" asm-1-30 on ;;
esac
