#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
no_endpoint() { ! k -n $NS get endpointslices -l kubernetes.io/service-name=istiod-asm-1-30 -o jsonpath='{.items[*].endpoints[*].conditions.ready}' | grep -q true; }
down() { k -n $NS get deployment istiod-asm-1-30 -o json | jq -e '(.status.readyReplicas//0)==0' >/dev/null && no_endpoint; }
refused() { k -n checkout get events --field-selector reason=FailedCreate -o jsonpath='{.items[*].message}' | grep -q 'failed calling webhook'; }
case $1 in
  before) "$HERE/istiod" asm-1-30 hang; poll 30 down ;;
  after) poll 60 refused ;;
  cleanup) "$HERE/istiod" asm-1-30 on ;;
esac
