#!/bin/bash
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
svc=aks-istio-ingressgateway-external
case $1 in
  before)
    k -n $IGW annotate service $svc service.beta.kubernetes.io/azure-pip-name=front-door --overwrite >/dev/null
    edit_status $IGW service/$svc 'del(.status.loadBalancer.ingress)'
    k -n $IGW create -f - >/dev/null <<Y
apiVersion: v1
kind: Event
metadata: {name: $svc.no-address, namespace: $IGW}
involvedObject: {apiVersion: v1, kind: Service, name: $svc, namespace: $IGW, uid: "$(k -n $IGW get service $svc -o jsonpath='{.metadata.uid}')"}
type: Warning
reason: SyncLoadBalancerFailed
message: "Error syncing load balancer: failed to ensure load balancer: findMatchedPIPByName: failed to find PIP front-door in resource group mc_lab_lab_westeurope"
source: {component: service-controller}
count: 4
firstTimestamp: "$(date -u +%FT%TZ)"
lastTimestamp: "$(date -u +%FT%TZ)"
Y
    ;;
  cleanup)
    k -n $IGW delete event $svc.no-address --ignore-not-found >/dev/null
    k -n $IGW annotate service $svc service.beta.kubernetes.io/azure-pip-name- >/dev/null
    edit_status $IGW service/$svc '.status.loadBalancer.ingress = [{ip: "20.103.7.41"}]' ;;
esac
