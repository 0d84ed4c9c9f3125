#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  before) k label namespace kube-system istio.io/rev=asm-1-30 --overwrite >/dev/null ;;
  cleanup) k label namespace kube-system istio.io/rev- >/dev/null ;;
esac
