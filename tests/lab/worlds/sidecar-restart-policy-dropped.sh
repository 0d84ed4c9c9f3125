#!/bin/bash
# The webhook is real, and the API server's refusal is its own.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
refused() { k -n identity get events --field-selector reason=FailedCreate -o jsonpath='{.items[*].message}' | grep -q restartPolicy; }
case $1 in
  before)
    k apply -f - >/dev/null <<Y
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: workload-identity}
webhooks:
- name: mutation.workload-identity.example.com
  admissionReviewVersions: [v1]
  clientConfig: $("$HERE/webhook" identity '[.spec.initContainers // [] | to_entries[] | select(.value.restartPolicy) | {op: "remove", path: "/spec/initContainers/\(.key)/restartPolicy"}]')
  failurePolicy: Fail
  sideEffects: None
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: identity}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
Y
    ;;
  after) poll 60 refused ;;
  cleanup) k delete mutatingwebhookconfiguration workload-identity --ignore-not-found >/dev/null; "$HERE/webhook" identity off ;;
esac
