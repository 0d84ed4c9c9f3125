#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
one_left() { [ "$(k -n $NS get deployment istiod-asm-1-30 -o jsonpath='{.status.readyReplicas}')" = 1 ]; }
case $1 in
  before) "$HERE/istiod" asm-1-30 off "$(pod_of $NS istio.io/rev=asm-1-30)"; poll 30 one_left ;;
  cleanup) "$HERE/istiod" asm-1-30 on ;;
esac
