#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in cleanup) k -n $NS delete sidecars.networking.istio.io default --ignore-not-found >/dev/null ;; esac
