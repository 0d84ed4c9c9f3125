#!/bin/bash
# Takes the webhook away, and puts back what was there.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
webhook=istio-sidecar-injector-asm-1-30-$NS saved=$LAB_RUN/injector-missing.json
case $1 in
  before)
    k get mutatingwebhookconfiguration "$webhook" -o json | jq 'del(.metadata.resourceVersion, .metadata.uid)' >"$saved"
    k delete mutatingwebhookconfiguration "$webhook" >/dev/null ;;
  after) ;;
  cleanup) if [ -s "$saved" ]; then k apply -f "$saved" >/dev/null; rm -f "$saved"; fi ;;
esac
