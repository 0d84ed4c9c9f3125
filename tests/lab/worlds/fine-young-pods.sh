#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  after)
    k -n newborn rollout status deployment/web --timeout=60s >/dev/null
    for p in $(k -n newborn get pods -l app=web -o name); do
      edit_status newborn "$p" 'not_ready | .status.phase = "Pending" | (.status.containerStatuses[]) |= (.started = false | .state = {waiting: {reason: "PodInitializing"}})
        | (.status.initContainerStatuses[] | select(.name == "istio-proxy")) |= (.ready = false | .started = false | .state = {running: {startedAt: (now | todate)}})'
    done ;;
esac
