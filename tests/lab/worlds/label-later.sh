#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  after)
    for d in web left-out on-the-host; do k -n support rollout status deployment/$d --timeout=60s >/dev/null; done
    k label namespace support istio.io/rev=asm-1-30 >/dev/null ;;
esac
