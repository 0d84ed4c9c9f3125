#!/bin/bash
# The pods are made while the injector's ConfigMap names an older patch; istiod is asked until it has read the change.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
gives() { k create -f - --dry-run=server -o json <<Y | jq -e --arg tag "$1" '[.spec.initContainers[]?|select(.name=="istio-proxy").image][0]|endswith(":v"+$tag)' >/dev/null
apiVersion: v1
kind: Pod
metadata: {name: probe, namespace: shop}
spec: {containers: [{name: app, image: none}]}
Y
}
both_give() { for _ in 1 2 3 4 5 6; do gives "$1" || return 1; done; }   # either of two istiods may answer
set_tag() { k -n $NS get configmap istio-sidecar-injector-asm-1-30 -o json | jq --arg tag "v$1" '.data.values |= (fromjson | .global.tag = $tag | tojson)' | k replace -f - >/dev/null; }
case $1 in
  before) keep injector -n $NS configmap istio-sidecar-injector-asm-1-30; set_tag 1.30.1-1; poll 30 both_give 1.30.1-1 ;;
  after) k -n stale rollout status deployment/web --timeout=60s >/dev/null; put_back injector; poll 30 both_give 1.30.2-2 ;;
  cleanup) put_back injector ;;
esac
