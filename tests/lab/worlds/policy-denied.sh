#!/bin/bash
# The API server needs a moment to see a new policy: it is asked until it refuses.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
bites() { ! k -n $NS run probe --image=none --labels=a=b --dry-run=server >/dev/null 2>&1; }
refused() { [ "$(k -n $NS get deployment istiod-asm-1-30 -o jsonpath='{.status.conditions[?(@.type=="ReplicaFailure")].status}')" = True ]; }
case $1 in
  after) poll 30 bites; k -n $NS delete pod "$(pod_of $NS istio.io/rev=asm-1-30)" >/dev/null; poll 30 refused ;;
  cleanup)
    k delete validatingadmissionpolicybinding,validatingadmissionpolicy pods-need-a-cost-centre --ignore-not-found >/dev/null
    allowed() { ! bites; }
    poll 30 allowed; try_again $NS istio.io/rev=asm-1-30; "$HERE/kubelet" wait asm-1-30 ;;
esac
