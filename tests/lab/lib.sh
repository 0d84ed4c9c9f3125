# Shared by all lab scripts. Everything lives under $LAB_CACHE (binaries, kept)
# and $LAB_RUN (one running lab: pids, logs, kubeconfig; removed by `down`).
# Two labs run side by side when LAB_NETNS and LAB_RUN differ.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB_CACHE=${LAB_CACHE:-$HOME/.cache/kubectl-asm-lab}
LAB_RUN=${LAB_RUN:-$LAB_CACHE/run}
BIN=$LAB_CACHE/bin
NETNS=${LAB_NETNS:-asm-lab}      # network namespace of the lab
K8S=1.34.2                       # Kubernetes version the API server reports
ISTIO=v0.0.0-20260827124520-eed52ebb66ad   # the newest build that the module proxy serves
ENVOY=1.40.0                     # the real Envoy, a stock build
REVS=${LAB_REVS:-asm-1-30}       # revisions that `up` installs; worlds add and remove others
PLAIN_REVS=${LAB_PLAIN_REVS-asm-1-28}   # revisions whose istiods send only what a stock Envoy understands
NS=aks-istio-system
IGW=aks-istio-ingress
export PATH=$BIN:$PATH KUBECONFIG=$LAB_RUN/kubeconfig KWOK_WORKDIR=$LAB_RUN/kwok

# Version of a revision, as the add-on's image tags spell it. One istiod build plays every revision here: what differs
# between revisions in a real cluster and matters to the tool (names, labels, image tags) comes from the objects.
version_of() {
  case $1 in
    asm-1-27) echo 1.27.9-6 ;; asm-1-28) echo 1.28.9-2 ;; asm-1-29) echo 1.29.5-2 ;; asm-1-30) echo 1.30.2-2 ;;
    *) local v=${1#asm-}; echo "${v/-/.}.0-1" ;;
  esac
}
plain() { case " $PLAIN_REVS " in *" $1 "*) ;; *) return 1 ;; esac; }
# True for a pid file whose process lives in this lab's network: a pid that was reused elsewhere never counts.
alive() { [ -s "$1" ] && [ "/proc/$(cat "$1")/ns/net" -ef "/run/netns/$NETNS" ]; }
inlab() { nsenter --net="/run/netns/$NETNS" "$@"; }   # run inside the lab's network; fails when there is none
k() { inlab kubectl "$@"; }
say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }
die() { say "$*"; exit 1; }
# poll SECONDS CMD… — until CMD succeeds; fails when the time is over. Conditions, not guesses about how long things take.
poll() {
  local end=$(( $(date +%s) + $1 )); shift
  until "$@"; do [ "$(date +%s)" -lt "$end" ] || return 1; sleep 0.2; done
}
# Start a daemon inside the lab's network: daemon NAME CMD…; pid in $LAB_RUN/NAME.pid, log in $LAB_RUN/NAME.log
# in the container runtime's format (time, stream, F, text), the one kwok can serve as `kubectl logs`.
daemon() {
  local n=$1; shift
  alive "$LAB_RUN/$n.pid" && return
  rm -f "$LAB_RUN/$n.pid"
  inlab setsid bash -c 'echo $$ >"$0.pid"; exec > >(exec jq -rR --unbuffered "(now|todate)+\" stdout F \"+." >"$0.log") 2>&1; exec "$@"' \
    "$LAB_RUN/$n" "$@" </dev/null >/dev/null 2>&1 &
  poll 10 test -s "$LAB_RUN/$n.pid"
}
# What the scaling controller says about an autoscaler that has nothing to do: hpa_at_rest NAMESPACE NAME
hpa_at_rest() {
  k -n "$1" patch hpa "$2" --subresource status --type merge -p '{"status": {"currentReplicas": 2, "desiredReplicas": 2, "conditions": [
    {"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale"}, {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound"},
    {"type": "ScalingLimited", "status": "False", "reason": "DesiredWithinRange"}]}}' >/dev/null
}
# What `istioctl tag set` makes: a webhook, a Service, and for the tag `default` a validator.
drop_tag() {
  k delete mutatingwebhookconfiguration,validatingwebhookconfiguration -l "istio.io/tag=$1" --ignore-not-found >/dev/null
  k -n $NS delete service "istiod-revision-tag-$1" --ignore-not-found >/dev/null
  [ "$1" != default ] || k delete validatingwebhookconfiguration istiod-default-validator --ignore-not-found >/dev/null
}
# keep NAME OBJECT… saves an object (the words after NAME are those of `kubectl get`); put_back NAME writes it as it was.
keep() {
  local f=$LAB_RUN/kept-$1.json; shift
  k get "$@" -o json | jq 'del(.metadata | .resourceVersion, .uid, .creationTimestamp, .generation)' >"$f"
}
put_back() {
  local f=$LAB_RUN/kept-$1.json
  [ -s "$f" ] || return 0
  k replace -f "$f" >/dev/null 2>&1 || k create -f "$f" >/dev/null
  rm -f "$f"
}
# What the owner of a status (kubelet, cloud controller) would write: edit_status NAMESPACE KIND/NAME JQ-FILTER
edit_status() { k -n "$1" get "$2" -o json | jq "$NOT_READY del(.metadata.resourceVersion) | $3" | k replace --subresource=status -f - >/dev/null; }
NOT_READY='def not_ready: (.status.conditions[] | select(.type == "Ready" or .type == "ContainersReady"))
  |= (.status = "False" | .lastTransitionTime = (now | todate)) | .status.containerStatuses[]?.ready = false;'
pod_of() { k -n "$1" get pods -l "$2" -o jsonpath='{.items[0].metadata.name}'; }   # pod_of NAMESPACE SELECTOR
# A ReplicaSet whose pods were refused waits longer each time; a touch makes it try at once: try_again NAMESPACE SELECTOR
try_again() { k -n "$1" annotate replicasets -l "$2" "lab.kubectl-asm/touched=$(date +%s%N)" --overwrite >/dev/null; }
# What a real proxy needs to know of its pod: proxy_pod NAMESPACE POD sets json, ip, rev, version, meta (the ISTIO_META_ variables of its
# container) and istiod (the address of one that is ready).
proxy_pod() {
  json=$(k -n "$1" get pod "$2" -o json)
  read -r ip rev version < <(jq -r '[.status.podIP, .metadata.annotations["istio.io/rev"],
    (.spec | [.initContainers[]?, .containers[]] | .[] | select(.name == "istio-proxy").image | sub(".*:v"; "") | sub("-.*"; ""))] | join(" ")' <<<"$json")
  meta=$(jq -c '.spec | [.initContainers[]?, .containers[]] | [.[] | select(.name == "istio-proxy").env[]? | select((.name | startswith("ISTIO_META_")) and .value)
    | {key: .name[11:], value}] | from_entries' <<<"$json")
  istiod=$(k -n $NS get pods -l "app=istiod,istio.io/rev=$rev" -o json |
    jq -r '[.items[] | select(any(.status.conditions[]?; .type == "Ready" and .status == "True")).status.podIP][0] // empty')
  [ -n "$istiod" ] || die "no istiod of $rev is ready"
}
end_proxy() { # NAME NAMESPACE POD — and what the API server was told about it; the fleet takes its place
  local pid; pid=$(cat "$LAB_RUN/$1.pid" 2>/dev/null || true)
  if alive "$LAB_RUN/$1.pid"; then
    kill "$pid"
    gone() { ! alive "$LAB_RUN/$1.pid"; }
    poll 30 gone "$1" || kill -9 "$pid"
  fi
  rm -rf "$LAB_RUN/$1.pid" "${LAB_RUN:?}/$1"
  k -n "$2" delete portforwards,logs "$3" --ignore-not-found >/dev/null
  k -n "$2" annotate pod "$3" lab/xds- >/dev/null 2>&1 || true   # it may be gone
}
