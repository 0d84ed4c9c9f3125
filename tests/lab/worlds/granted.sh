#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in cleanup) k -n kube-system delete deployment ama-metrics --ignore-not-found --cascade=foreground >/dev/null ;; esac
