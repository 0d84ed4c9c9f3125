#!/bin/bash
# The same charts with their own defaults: no revision, namespace istio-system. The CRDs are the add-on's already.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
f=$LAB_RUN/self-managed.yaml
case $1 in
  before)
    k create namespace istio-system --dry-run=client -o yaml | k apply -f - >/dev/null
    istioctl manifest generate --set profile=minimal |
      awk 'BEGIN {RS="---\n"; ORS="---\n"} !/\nkind: CustomResourceDefinition\n/' >"$f"
    k apply --server-side --force-conflicts -f "$f" >/dev/null
    k -n istio-system rollout status deployment/istiod --timeout=60s >/dev/null
    "$HERE/kubelet" wait default ;;
  cleanup)
    [ ! -s "$f" ] || k delete -f "$f" --ignore-not-found >/dev/null
    k delete namespace istio-system --ignore-not-found >/dev/null ;;
esac
