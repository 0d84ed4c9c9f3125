package main

import (
	"context"
	"log"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
)

// opening is how many streams may wait for their first answer at one istiod: it limits how fast they come.
const opening = 40

// server is an istiod and the one connection that all its streams share.
type server struct {
	istiod
	conn   *grpc.ClientConn
	cancel context.CancelFunc
}

func (s *server) usable() bool { return s.answers && s.conn.GetState() == connectivity.Ready }

// stream is one proxy on one istiod.
type stream struct {
	pod     *pod
	server  *server
	cancel  context.CancelFunc
	heard   bool // it got an answer
	leaving bool // it was told to end
}

// retry says when a proxy whose stream broke tries again.
type retry struct {
	after time.Duration
	at    time.Time
}

// fleet is what should be and what is. One goroutine (keep) opens and ends streams.
type fleet struct {
	mu      sync.Mutex
	objects map[key]*object
	pods    map[key]*pod
	servers map[key]*server
	streams map[key][]*stream
	retries map[key]retry
	wake    chan struct{}
}

func newFleet() *fleet {
	return &fleet{
		objects: map[key]*object{}, pods: map[key]*pod{}, servers: map[key]*server{},
		streams: map[key][]*stream{}, retries: map[key]retry{}, wake: make(chan struct{}, 1),
	}
}

func (f *fleet) changed() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func version(o *object) uint64 {
	n, _ := strconv.ParseUint(o.Metadata.ResourceVersion, 10, 64)
	return n
}

// replace takes a whole list, see takes one event. Of two states of a pod the later one counts, whichever came first.
func (f *fleet) replace(objects map[key]*object) {
	f.mu.Lock()
	for k, old := range f.objects {
		if now := objects[k]; now != nil && version(now) < version(old) {
			objects[k] = old
		}
	}
	f.objects = objects
	f.pods = map[key]*pod{}
	for k, o := range objects {
		if p := o.proxy(); p != nil {
			f.pods[k] = p
		}
	}
	f.mu.Unlock()
	f.changed()
}

func (f *fleet) see(o *object, gone bool) {
	f.mu.Lock()
	k := o.key()
	if old := f.objects[k]; old != nil && version(o) < version(old) {
		f.mu.Unlock()
		return
	}
	delete(f.pods, k)
	if gone {
		delete(f.objects, k)
	} else {
		f.objects[k] = o
		if p := o.proxy(); p != nil {
			f.pods[k] = p
		}
	}
	f.mu.Unlock()
	f.changed()
}

// keep brings what is to what should be, again and again.
func (f *fleet) keep(ctx context.Context) {
	timer := time.NewTimer(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
			time.Sleep(20 * time.Millisecond) // changes come in crowds
		case <-timer.C:
		}
		f.mu.Lock()
		f.follow(ctx)
		next := f.deal(ctx)
		f.mu.Unlock()
		timer.Reset(next)
	}
}

// follow opens a connection to each istiod that exists, and forgets those that are gone.
func (f *fleet) follow(ctx context.Context) {
	there := map[key]istiod{}
	for k, o := range f.objects {
		if i := o.istiod(); i != nil && i.exists {
			there[k] = *i
		}
	}
	for k, s := range f.servers {
		i, ok := there[k]
		if !ok || i.ip != s.ip || i.serves != s.serves {
			s.cancel()
			s.conn.Close()
			delete(f.servers, k)
		} else {
			s.istiod = i
		}
	}
	for k, i := range there {
		if f.servers[k] != nil {
			continue
		}
		conn, err := grpc.NewClient("passthrough:///"+i.ip+":15010", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256<<20)), grpc.WithIdleTimeout(0), grpc.WithConnectParams(grpc.ConnectParams{
				Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: time.Second}, MinConnectTimeout: 5 * time.Second}))
		if err != nil {
			log.Printf("%s: %v", k, err)
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		f.servers[k] = &server{istiod: i, conn: conn, cancel: cancel}
		go func() {
			for state := conn.GetState(); ; state = conn.GetState() {
				if state == connectivity.Idle {
					conn.Connect()
				}
				if !conn.WaitForStateChange(ctx, state) {
					return
				}
				f.changed()
			}
		}()
	}
}

// deal decides who is connected to whom; it returns when to look again.
func (f *fleet) deal(ctx context.Context) time.Duration {
	load, fresh := map[*server]int{}, map[*server]int{}
	for k, list := range f.streams {
		now := f.pods[k]
		for i, s := range list {
			gone := now == nil || now.real() || i >= now.streams() || !now.same(s.pod) || f.servers[s.server.pod] != s.server
			if gone && !s.leaving {
				s.end()
			}
			if s.leaving {
				continue
			}
			load[s.server]++
			if !s.heard {
				fresh[s.server]++
			}
		}
	}
	planes := map[key][]*server{}
	for _, s := range f.servers {
		if s.usable() {
			planes[s.serves] = append(planes[s.serves], s)
		}
	}
	for _, servers := range planes {
		slices.SortFunc(servers, func(a, b *server) int { return strings.Compare(a.pod.String(), b.pod.String()) })
	}
	soon, now := time.Minute, time.Now()
	for _, k := range sorted(f.pods) {
		p := f.pods[k]
		if p.real() || len(f.streams[k]) >= p.streams() {
			continue
		}
		if wait := f.retries[k].at.Sub(now); wait > 0 {
			soon = min(soon, wait)
			continue
		}
		for len(f.streams[k]) < p.streams() {
			var best *server
			for _, s := range planes[p.plane] {
				taken := slices.ContainsFunc(f.streams[k], func(t *stream) bool { return t.server == s })
				if !taken && fresh[s] < opening && (best == nil || load[s] < load[best]) {
					best = s
				}
			}
			if best == nil {
				break // an istiod that comes, or a stream that gets its answer, wakes us
			}
			f.open(ctx, p, best)
			load[best]++
			fresh[best]++
		}
	}
	for _, servers := range planes {
		f.balance(servers, load)
	}
	return soon
}

// balance takes proxies from an istiod that has more than its share; they are then dealt anew.
func (f *fleet) balance(servers []*server, load map[*server]int) {
	least := slices.MinFunc(servers, func(a, b *server) int { return load[a] - load[b] })
	most := slices.MaxFunc(servers, func(a, b *server) int { return load[a] - load[b] })
	surplus := (load[most] - load[least]) / 2
	for _, k := range sorted(f.streams) {
		list := f.streams[k]
		if surplus > 0 && len(list) == 1 && list[0].server == most && !list[0].leaving && list[0].heard {
			list[0].end()
			surplus--
		}
	}
}

func sorted[T any](of map[key]T) []key {
	keys := make([]key, 0, len(of))
	for k := range of {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		if c := strings.Compare(a.namespace, b.namespace); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	return keys
}

func (s *stream) end() {
	s.leaving = true
	s.cancel()
}

// open starts a stream; when it ends, however, its place is free again.
func (f *fleet) open(ctx context.Context, p *pod, to *server) {
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{pod: p, server: to, cancel: cancel}
	f.streams[p.key] = append(f.streams[p.key], s)
	go func() {
		err := p.talk(ctx, discovery.NewAggregatedDiscoveryServiceClient(to.conn), func() {
			f.mu.Lock()
			s.heard = true
			delete(f.retries, p.key)
			f.mu.Unlock()
			f.changed()
		})
		cancel()
		f.mu.Lock()
		defer f.changed()
		defer f.mu.Unlock()
		f.streams[p.key] = slices.DeleteFunc(f.streams[p.key], func(t *stream) bool { return t == s })
		if len(f.streams[p.key]) == 0 {
			delete(f.streams, p.key)
		}
		if s.leaving {
			return
		}
		log.Printf("%s on %s: %v", p.key, to.pod, err)
		after := min(max(2*f.retries[p.key].after, 100*time.Millisecond), 2*time.Second)
		f.retries[p.key] = retry{after, time.Now().Add(after/2 + rand.N(after))}
	}()
}
