#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
info() { edit_status default "node/$1" ".status.nodeInfo |= (.kubeletVersion = \"$2\" | .operatingSystem = \"$3\")"; }
ready() { ! k get nodes -o jsonpath='{.items[*].status.conditions[?(@.type=="Ready")].status}' | grep -qv '^True\( True\)*$' && [ "$(k get nodes -o json | jq '[.items[].status.conditions[]?|select(.type=="Ready" and .status=="True")]|length')" = 6 ]; }
case $1 in
  after) poll 30 ready
    info akswin000000 v1.34.2 windows; info virtual-node-aci-linux v1.25.0-vk-azure-aci-1.6.2 linux; info aks-nodepool1-12345678-vmss000009 v1.34.2 linux ;;
  cleanup) k delete node akswin000000 virtual-node-aci-linux aks-nodepool1-12345678-vmss000009 --ignore-not-found >/dev/null ;;
esac
