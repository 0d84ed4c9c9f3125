#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  after)
    k -n crowded rollout status deployment/web --timeout=60s >/dev/null
    edit_status crowded "pod/$(pod_of crowded app=web)" 'not_ready | (now | todate) as $now | (.status.initContainerStatuses[] | select(.name == "istio-proxy"))
      |= (.ready = false | .started = false | .restartCount = 7 | .state = {waiting: {reason: "CrashLoopBackOff", message: "back-off 5m0s restarting failed container=istio-proxy"}}
        | .lastState = {terminated: {exitCode: 137, reason: "OOMKilled", startedAt: $now, finishedAt: $now}})' ;;
esac
