#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  before) inlab istioctl tag set prod --revision asm-1-30 -i $NS --overwrite >/dev/null ;;
  cleanup) k delete mutatingwebhookconfiguration istio-revision-tag-prod-$NS --ignore-not-found >/dev/null ;;
esac
