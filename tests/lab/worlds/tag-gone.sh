#!/bin/bash
# The tag is set while its revision exists; then that revision is removed; then somebody deploys.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
refused() { k -n stock get events --field-selector reason=FailedCreate -o jsonpath='{.items[*].message}' | grep -q 'failed calling webhook'; }
case $1 in
  before) "$HERE/addon" asm-1-28; "$HERE/kubelet" wait asm-1-28
    inlab istioctl tag set stable --revision asm-1-28 -i $NS --overwrite >/dev/null
    "$HERE/addon" asm-1-28 remove ;;
  after) poll 60 refused ;;
  cleanup) "$HERE/addon" asm-1-28 remove; drop_tag stable ;;
esac
