#!/bin/bash
# An Envoy that refuses its first listeners never becomes ready: the filter comes when it is.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
refuses() {
  local ip
  for ip in $(k -n $NS get pods -l app=istiod,istio.io/rev=asm-1-28 -o jsonpath='{.items[*].status.podIP}'); do
    inlab curl -s "http://127.${ip#*.}:15014/debug/syncz"
  done | grep -q '"lastError"'
}
case $1 in
  before) "$HERE/addon" asm-1-28; "$HERE/kubelet" wait asm-1-28 ;;
  after)
    k -n genuine rollout status deployment/web --timeout=60s >/dev/null
    keep filter -n genuine envoyfilter add-header; k -n genuine delete envoyfilter add-header >/dev/null
    "$HERE/sidecar" genuine "$(pod_of genuine app=web)"; put_back filter; poll 30 refuses ;;
  cleanup) "$HERE/sidecar" genuine "$(pod_of genuine app=web)" off || true; "$HERE/addon" asm-1-28 remove ;;
esac
