#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
refuses() { ! k -n "$1" run probe --image=none --dry-run=server >/dev/null 2>&1; }
case $1 in
  after)
    k apply -f - >/dev/null <<Y
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: probe-dead}
webhooks:
- name: probe-dead.example.com
  admissionReviewVersions: [v1]
  clientConfig: {service: {namespace: nowhere, name: nobody, path: /}}
  failurePolicy: Fail
  sideEffects: None
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: probe-dead-webhook}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: probe-no-sidecars}
spec:
  failurePolicy: Fail
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]}
  validations: [{expression: "!has(object.spec.initContainers)", message: "no init containers here"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: probe-no-sidecars}
spec:
  policyName: probe-no-sidecars
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: probe-policy}}}
Y
    for ns in probe-dead-webhook probe-policy probe-quota probe-limits; do poll 30 refuses "$ns"; done ;;
  cleanup)
    k delete validatingwebhookconfiguration probe-dead --ignore-not-found >/dev/null
    k delete validatingadmissionpolicybinding,validatingadmissionpolicy probe-no-sidecars --ignore-not-found >/dev/null ;;
esac
