#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  before) k -n $NS patch hpa istiod-asm-1-30 --type merge -p '{"spec": {"minReplicas": 1}}' >/dev/null ;;
  cleanup) k -n $NS patch hpa istiod-asm-1-30 --type merge -p '{"spec": {"minReplicas": 2}}' >/dev/null ;;
esac
