#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in cleanup) k delete clusterrole,clusterrolebinding lab-all-but-webhooks --ignore-not-found >/dev/null ;; esac
