#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
set_cni() { k -n $NS get configmap istio-sidecar-injector-asm-1-30 -o json | jq --argjson on "$1" '.data.values |= (fromjson | .pilot.cni.enabled = $on | tojson)' | k replace -f - >/dev/null; }
set=azure-service-mesh-istio-cni-addon-node
one_less() { [ "$(k -n $NS get daemonset $set -o jsonpath='{.status.numberReady}')" = 2 ]; }
case $1 in
  after)
    set_cni true; k -n $NS rollout status daemonset/$set --timeout=60s >/dev/null
    edit_status $NS "pod/$(pod_of $NS k8s-app=$set)" 'not_ready | .status.containerStatuses[0] |= (.restartCount = 6 | .started = false
      | .state = {waiting: {reason: "CrashLoopBackOff", message: "back-off 5m0s restarting failed container=install-cni"}})'
    poll 30 one_less ;;
  cleanup) set_cni false; k -n $NS delete daemonset $set --ignore-not-found --cascade=foreground >/dev/null ;;
esac
