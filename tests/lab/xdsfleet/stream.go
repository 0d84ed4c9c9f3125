package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	cds = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	eds = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	lds = "type.googleapis.com/envoy.config.listener.v3.Listener"
	rds = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
)

// firstAnswer is how long a new stream waits: an istiod that accepts and never answers is left again.
const firstAnswer = 20 * time.Second

// node is how a sidecar introduces itself; istiod finds its pod and its workload selectors by it.
func (p *pod) node() (*core.Node, error) {
	labels := map[string]any{}
	for name, value := range p.labels {
		labels[name] = value
	}
	fields := map[string]any{
		"CLUSTER_ID": "Kubernetes", "MESH_ID": "cluster.local", "INTERCEPTION_MODE": "REDIRECT",
		"NAME": p.name, "NAMESPACE": p.namespace, "INSTANCE_IPS": p.ip, "SERVICE_ACCOUNT": p.account,
		"ISTIO_VERSION": p.version, "LABELS": labels, "PROXY_CONFIG": map[string]any{},
	}
	for name, value := range p.meta {
		fields[name] = value
	}
	meta, err := structpb.NewStruct(fields)
	if err != nil {
		return nil, err
	}
	return &core.Node{
		Id:      fmt.Sprintf("%s~%s~%s.%s~%s.svc.cluster.local", p.kind, p.ip, p.name, p.namespace, p.namespace),
		Cluster: p.name + "." + p.namespace, Metadata: meta, UserAgentName: "envoy",
	}, nil
}

// wanted names the resources that an answer leads to: the endpoints of its clusters, the routes of its listeners.
func wanted(answer *discovery.DiscoveryResponse) (kind string, names []string) {
	for _, resource := range answer.Resources {
		switch answer.TypeUrl {
		case cds:
			kind = eds
			c := &cluster.Cluster{}
			if resource.UnmarshalTo(c) != nil || c.GetType() != cluster.Cluster_EDS {
				continue
			}
			name := c.GetEdsClusterConfig().GetServiceName()
			if name == "" {
				name = c.Name
			}
			names = append(names, name)
		case lds:
			kind = rds
			l := &listener.Listener{}
			if resource.UnmarshalTo(l) != nil {
				continue
			}
			for _, chain := range append(l.FilterChains, l.DefaultFilterChain) {
				for _, filter := range chain.GetFilters() {
					manager := &hcm.HttpConnectionManager{}
					if filter.GetTypedConfig().UnmarshalTo(manager) == nil && manager.GetRds() != nil {
						names = append(names, manager.GetRds().RouteConfigName)
					}
				}
			}
		}
	}
	slices.Sort(names)
	return kind, slices.Compact(names)
}

// reply is what the proxy says to an answer; nothing when its mode is to be silent.
func (p *pod) reply(answer *discovery.DiscoveryResponse, names []string, seen bool) *discovery.DiscoveryRequest {
	ack := &discovery.DiscoveryRequest{
		TypeUrl: answer.TypeUrl, ResponseNonce: answer.Nonce, VersionInfo: answer.VersionInfo, ResourceNames: names,
	}
	switch {
	case p.mode == "mute", p.mode == "once" && seen:
		return nil
	case p.mode == "nack" && answer.TypeUrl == lds:
		ack.VersionInfo, ack.ErrorDetail = "", &status.Status{Code: 13, Message: p.reason}
	}
	return ack
}

// talk holds one stream until it breaks or ctx ends; heard is called with the first answer.
func (p *pod) talk(ctx context.Context, client discovery.AggregatedDiscoveryServiceClient, heard func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(firstAnswer, func() { cancel(fmt.Errorf("no answer within %v", firstAnswer)) })
	defer late.Stop()
	err := p.exchange(ctx, client, func() { late.Stop(); heard() })
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (p *pod) exchange(ctx context.Context, client discovery.AggregatedDiscoveryServiceClient, heard func()) error {
	node, err := p.node()
	if err != nil {
		return err
	}
	stream, err := client.StreamAggregatedResources(ctx)
	if err != nil {
		return err
	}
	for _, kind := range []string{cds, lds} {
		if err := stream.Send(&discovery.DiscoveryRequest{Node: node, TypeUrl: kind}); err != nil {
			return err
		}
	}
	names, last := map[string][]string{}, map[string]*discovery.DiscoveryResponse{}
	for {
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		if len(last) == 0 {
			heard()
		}
		reply := p.reply(answer, names[answer.TypeUrl], last[answer.TypeUrl] != nil)
		// The resources themselves are not kept: thousands of proxies would hold thousands of copies.
		last[answer.TypeUrl] = &discovery.DiscoveryResponse{Nonce: answer.Nonce, VersionInfo: answer.VersionInfo}
		if reply == nil {
			continue
		}
		if err := stream.Send(reply); err != nil {
			return err
		}
		kind, next := wanted(answer)
		if len(next) == 0 || strings.Join(next, ",") == strings.Join(names[kind], ",") {
			continue
		}
		names[kind] = next
		request := &discovery.DiscoveryRequest{TypeUrl: kind, ResourceNames: next}
		if before := last[kind]; before != nil {
			request.ResponseNonce, request.VersionInfo = before.Nonce, before.VersionInfo
		}
		if err := stream.Send(request); err != nil {
			return err
		}
	}
}
