#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
no_endpoint() { ! k -n $NS get endpointslices -l kubernetes.io/service-name=istiod-asm-1-30 -o jsonpath='{.items[*].endpoints[*].conditions.ready}' | grep -q true; }
down() { k -n $NS get deployment istiod-asm-1-30 -o json | jq -e '(.status.readyReplicas//0)==0' >/dev/null && no_endpoint; }
case $1 in
  before) "$HERE/istiod" asm-1-30 off; poll 30 down ;;
  cleanup) k -n $NS delete configmap istio-shared-configmap-asm-1-30 --ignore-not-found >/dev/null; "$HERE/istiod" asm-1-30 on ;;
esac
