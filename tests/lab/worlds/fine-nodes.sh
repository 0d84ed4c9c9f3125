#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
info() { k get node "$1" -o json | jq --arg v "$2" --arg os "$3" '.status.nodeInfo |= (.kubeletVersion = $v | .operatingSystem = $os)' | k replace --subresource=status -f - >/dev/null; }
ready() { ! k get nodes -o jsonpath='{.items[*].status.conditions[?(@.type=="Ready")].status}' | grep -qv '^True\( True\)*$' && [ "$(k get nodes -o json | jq '[.items[].status.conditions[]?|select(.type=="Ready" and .status=="True")]|length')" = 6 ]; }
case $1 in
  after) poll 30 ready
    info akswin000000 v1.34.2 windows; info virtual-node-aci-linux v1.25.0-vk-azure-aci-1.6.2 linux; info aks-nodepool1-12345678-vmss000009 v1.34.2 linux ;;
  cleanup) k delete node akswin000000 virtual-node-aci-linux aks-nodepool1-12345678-vmss000009 --ignore-not-found >/dev/null ;;
esac
