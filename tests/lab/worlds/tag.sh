#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  before) inlab istioctl tag set prod --revision asm-1-30 -i $NS --overwrite >/dev/null ;;
  cleanup) drop_tag prod ;;
esac
