#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  before) keep policy validatingwebhookconfiguration azure-service-mesh-ccp-validating-webhook
    k delete validatingwebhookconfiguration azure-service-mesh-ccp-validating-webhook >/dev/null ;;
  cleanup) put_back policy ;;
esac
