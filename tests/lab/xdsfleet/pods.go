package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Annotations on pods that the lab reads.
const (
	modeOfProxy  = "lab/xds"                // ack, nack, mute, once, twice, none, envoy, sidecar
	textOfNack   = "lab/xds-error"          // what a proxy that refuses says
	modeOfIstiod = "lab.kubectl-asm/istiod" // see tests/lab/kubelet
)

const refusal = "Error adding/updating listener(s) virtualInbound: Proto constraint validation failed " +
	"(ListenerValidationError.FilterChains: refused on purpose)"

// key names a pod, or a control plane: namespace and revision.
type key struct{ namespace, name string }

func (k key) String() string { return k.name + "." + k.namespace }

// istiod is a pod whose process should serve proxies of its revision.
type istiod struct {
	pod     key
	ip      string
	serves  key  // namespace and revision
	exists  bool // its process may hold connections, also when it is stopped
	answers bool // it is ready, so its Service leads to it
}

// pod is a proxy that runs and therefore connects.
type pod struct {
	key
	name, namespace, ip, account string
	kind, mode, reason, version  string
	labels, meta                 map[string]string
	plane                        key
}

// same tells whether a stream that was opened for the one can go on for the other.
func (p *pod) same(q *pod) bool {
	return p.ip == q.ip && p.mode == q.mode && p.reason == q.reason && p.kind == q.kind && p.plane == q.plane
}

// streams is how many istiods the proxy is connected to, from here or by a process of its own.
func (p *pod) streams() int {
	switch p.mode {
	case "none":
		return 0
	case "twice":
		return 2
	}
	return 1
}

// real is a proxy that the scripts `envoy` or `sidecar` connect.
func (p *pod) real() bool { return p.mode == "envoy" || p.mode == "sidecar" }

type container struct {
	Name, Image string
	Args        []string
	Env         []struct{ Name, Value string }
}

type containerStatus struct {
	Name  string
	Ready bool
	State struct{ Running *struct{} }
}

// object is what is needed of a Pod.
type object struct {
	Metadata struct {
		Name, Namespace, ResourceVersion string
		DeletionTimestamp                *string
		Labels, Annotations              map[string]string
	}
	Spec struct {
		ServiceAccountName         string
		Containers, InitContainers []container
	}
	Status struct {
		Phase, PodIP                             string
		ContainerStatuses, InitContainerStatuses []containerStatus
		Conditions                               []struct{ Type, Status string }
	}
}

func (o *object) key() key { return key{o.Metadata.Namespace, o.Metadata.Name} }

func (o *object) istiod() *istiod {
	if o.Metadata.Labels["app"] != "istiod" || o.Status.PodIP == "" || o.Metadata.DeletionTimestamp != nil {
		return nil
	}
	mode := o.Metadata.Annotations[modeOfIstiod]
	ready := false
	for _, c := range o.Status.Conditions {
		ready = ready || c.Type == "Ready" && c.Status == "True"
	}
	return &istiod{
		pod: o.key(), ip: o.Status.PodIP, serves: key{o.Metadata.Namespace, o.Metadata.Labels["istio.io/rev"]},
		exists: !strings.HasPrefix(mode, "off"), answers: ready && (mode == "" || mode == "on"),
	}
}

// proxy is nil unless the pod's proxy runs and is ready.
func (o *object) proxy() *pod {
	var spec *container
	for _, list := range [][]container{o.Spec.InitContainers, o.Spec.Containers} {
		for i := range list {
			if list[i].Name == "istio-proxy" {
				spec = &list[i]
			}
		}
	}
	if spec == nil || o.Status.Phase != "Running" || o.Status.PodIP == "" || o.Metadata.DeletionTimestamp != nil {
		return nil
	}
	runs := false
	for _, s := range append(o.Status.InitContainerStatuses, o.Status.ContainerStatuses...) {
		runs = runs || s.Name == "istio-proxy" && s.Ready && s.State.Running != nil
	}
	if !runs {
		return nil
	}
	p := &pod{
		key: o.key(), name: o.Metadata.Name, namespace: o.Metadata.Namespace, ip: o.Status.PodIP, account: o.Spec.ServiceAccountName,
		kind: "sidecar", mode: o.Metadata.Annotations[modeOfProxy], reason: o.Metadata.Annotations[textOfNack], version: "1.30.2",
		labels: o.Metadata.Labels, meta: map[string]string{}, plane: key{"aks-istio-system", o.Metadata.Annotations["istio.io/rev"]},
	}
	if p.mode == "" {
		p.mode = "ack"
	}
	if p.reason == "" {
		p.reason = refusal
	}
	if len(spec.Args) > 1 && spec.Args[0] == "proxy" {
		p.kind = spec.Args[1]
	}
	// The image's tag: v1.30.2-2 holds Istio 1.30.2.
	if at := strings.LastIndex(spec.Image, ":v"); at >= 0 {
		p.version, _, _ = strings.Cut(spec.Image[at+2:], "-")
	}
	for _, e := range spec.Env {
		if name, ok := strings.CutPrefix(e.Name, "ISTIO_META_"); ok && e.Value != "" {
			p.meta[name] = e.Value
		}
		if e.Name == "PROXY_CONFIG" {
			if plane, ok := discoveryAddress(e.Value); ok {
				p.plane = plane
			}
		}
	}
	return p
}

// discoveryAddress reads the control plane off `istiod-REVISION.NAMESPACE.svc:15012`.
func discoveryAddress(config string) (key, bool) {
	var c struct{ DiscoveryAddress string }
	if json.Unmarshal([]byte(config), &c) != nil {
		return key{}, false
	}
	host := strings.Split(c.DiscoveryAddress, ".")
	if len(host) < 2 || !strings.HasPrefix(host[0], "istiod") {
		return key{}, false
	}
	revision := strings.TrimPrefix(strings.TrimPrefix(host[0], "istiod"), "-")
	if revision == "" {
		revision = "default"
	}
	return key{host[1], revision}, true
}

// api is the API server.
type api struct {
	url    string
	client *http.Client
}

func (a *api) get(ctx context.Context, path string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, fmt.Errorf("%s: %s", path, answer.Status)
	}
	return answer.Body, nil
}

// list returns all pods as they are now, and the version to watch from.
func (a *api) list(ctx context.Context) (map[key]*object, string, error) {
	body, err := a.get(ctx, "/api/v1/pods")
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	var all struct {
		Metadata struct{ ResourceVersion string }
		Items    []*object
	}
	if err := json.NewDecoder(body).Decode(&all); err != nil {
		return nil, "", err
	}
	pods := make(map[key]*object, len(all.Items))
	for _, o := range all.Items {
		pods[o.key()] = o
	}
	return pods, all.Metadata.ResourceVersion, nil
}

// watch tells of every change after a version until the API server ends it.
func (a *api) watch(ctx context.Context, version string, changed func(o *object, gone bool)) error {
	body, err := a.get(ctx, "/api/v1/pods?watch=1&resourceVersion="+version)
	if err != nil {
		return err
	}
	defer body.Close()
	events := json.NewDecoder(bufio.NewReaderSize(body, 1<<16))
	for {
		var event struct {
			Type   string
			Object *object
		}
		if err := events.Decode(&event); err != nil {
			return err
		}
		if event.Type == "ERROR" || event.Object == nil {
			return fmt.Errorf("the watch ended: %s", event.Type)
		}
		changed(event.Object, event.Type == "DELETED")
	}
}
