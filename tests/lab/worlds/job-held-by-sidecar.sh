#!/bin/bash
# kwok ends every container of a Job at once. So the pod is put on a node that kwok does not play, and its status is written
# here; the taint keeps others away.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
node=aks-nodepool1-12345678-vmss000008
there() { [ -n "$(pod_of batch app=import 2>/dev/null)" ]; }
case $1 in
  before)
    k apply -f - >/dev/null <<Y
apiVersion: v1
kind: Node
metadata: {name: $node, labels: {agentpool: nodepool1, kubernetes.azure.com/agentpool: nodepool1, kubernetes.azure.com/mode: user, kubernetes.io/os: linux, kubernetes.io/arch: amd64}}
spec: {podCIDR: 10.244.24.0/24, taints: [{key: lab, effect: NoSchedule}]}
Y
    edit_status default node/$node '(now | todate) as $now | .status.nodeInfo |= (.kubeletVersion = "v1.34.2" | .operatingSystem = "linux")
      | .status.conditions = [{type: "Ready", status: "True", reason: "KubeletReady", lastHeartbeatTime: $now, lastTransitionTime: $now}]' ;;
  after)
    poll 30 there
    edit_status batch "pod/$(pod_of batch app=import)" '(now | todate) as $now | def ran: {terminated: {exitCode: 0, reason: "Completed", startedAt: $now, finishedAt: $now}};
      def entry: {name, image, imageID: "", restartCount: 0};
      .status.phase = "Running" | .status.podIP = "10.244.24.7" | .status.startTime = $now
      | .status.conditions = [{type: "Initialized", status: "True", lastTransitionTime: $now}, {type: "Ready", status: "False", lastTransitionTime: $now}, {type: "PodScheduled", status: "True", lastTransitionTime: $now}]
      | .status.initContainerStatuses = [.spec.initContainers[] | entry + {ready: true, state: ran}]
      | .status.containerStatuses = [.spec.containers[] | entry + if .name == "istio-proxy" then {ready: true, started: true, state: {running: {startedAt: $now}}} else {ready: false, started: false, state: ran} end]' ;;
  cleanup) k delete node $node --ignore-not-found >/dev/null ;;
esac
