#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
waiting() { [ "$(k -n $NS get pods -l app=istiod -o json | jq '[.items[].status.conditions[]?|select(.type=="PodScheduled" and .status=="False")]|length')" = 2 ] &&
  [ "$(k -n $NS get deployment istiod-asm-1-30 -o jsonpath='{.status.readyReplicas}')" = "" ]; }
case $1 in
  before) k cordon -l kubernetes.io/os=linux >/dev/null; k -n $NS delete pods -l app=istiod --grace-period=0 --force >/dev/null 2>&1; poll 30 waiting ;;
  cleanup)   # made anew once more: those that waited all took the first node that was free
    k uncordon -l kubernetes.io/os=linux >/dev/null; k -n $NS delete pods -l app=istiod --grace-period=0 --force >/dev/null 2>&1
    "$HERE/kubelet" wait asm-1-30 ;;
esac
