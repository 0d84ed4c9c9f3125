#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in cleanup) k -n $NS delete configmap istio-shared-configmap-asm-1-29 istio-shared-configmap-asm-1-30 --ignore-not-found >/dev/null ;; esac
