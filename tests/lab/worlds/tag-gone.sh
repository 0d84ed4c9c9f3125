#!/bin/bash
# The tag is set while its revision exists; then that revision is removed.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  before) "$HERE/addon" asm-1-28; "$HERE/kubelet" wait asm-1-28
    inlab istioctl tag set stable --revision asm-1-28 -i $NS --overwrite >/dev/null ;;
  after) k -n stock rollout status deployment/web --timeout=60s >/dev/null; "$HERE/addon" asm-1-28 remove ;;
  cleanup) "$HERE/addon" asm-1-28 remove
    k delete mutatingwebhookconfiguration istio-revision-tag-stable-$NS --ignore-not-found >/dev/null ;;
esac
