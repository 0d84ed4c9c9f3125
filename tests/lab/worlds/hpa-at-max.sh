#!/bin/bash
# Nothing scales here: what the controller would say is written into the status.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  before) keep hpa -n $NS hpa istiod-asm-1-30
    k -n $NS patch hpa istiod-asm-1-30 --type merge -p '{"spec": {"maxReplicas": 2}}' >/dev/null
    edit_status $NS hpa/istiod-asm-1-30 '.status.conditions |= map(if .type == "ScalingLimited" then .status = "True" | .reason = "TooManyReplicas" | .message = "the desired replica count is more than the maximum replica count" else . end)
      | .status.currentMetrics = [{type: "Resource", resource: {name: "cpu", current: {averageUtilization: 140, averageValue: "700m"}}}]' ;;
  cleanup) put_back hpa; hpa_at_rest $NS istiod-asm-1-30 ;;
esac
