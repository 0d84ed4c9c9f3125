#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  before)
    # The tag first: setting it afterwards would switch the other injector off.
    inlab istioctl tag set default --revision asm-1-30 -i $NS --overwrite >/dev/null
    "$HERE/worlds/self-managed.sh" before ;;
  cleanup) drop_tag default; "$HERE/worlds/self-managed.sh" cleanup ;;
esac
