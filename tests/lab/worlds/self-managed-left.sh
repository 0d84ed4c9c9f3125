#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  before) "$HERE/worlds/self-managed.sh" before ;;
  after)
    k -n left rollout status deployment/web --timeout=60s >/dev/null
    k delete namespace istio-system >/dev/null
    k -n left scale deployment/web --replicas=2 >/dev/null
    refused() { k -n left get events -o json | jq -e '.items | any(.reason == "FailedCreate")' >/dev/null; }
    poll 60 refused ;;
  cleanup) "$HERE/worlds/self-managed.sh" cleanup ;;
esac
