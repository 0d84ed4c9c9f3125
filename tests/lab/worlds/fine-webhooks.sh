#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
case $1 in
  before)
    k apply -f - >/dev/null <<Y
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: company-defaults}
webhooks:
- name: pods.defaults.example.com
  admissionReviewVersions: [v1]
  clientConfig: $("$HERE/webhook" defaults)
  failurePolicy: Fail
  sideEffects: None
  namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [kube-system, aks-istio-system, aks-istio-ingress, aks-istio-egress]}]}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
Y
    ;;
  cleanup)
    k delete validatingwebhookconfiguration gatekeeper-validating-webhook-configuration --ignore-not-found >/dev/null
    k delete mutatingwebhookconfiguration company-defaults --ignore-not-found >/dev/null; "$HERE/webhook" defaults off ;;
esac
