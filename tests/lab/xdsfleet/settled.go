package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"time"
)

// listed is one entry of an istiod's /debug/syncz.
type listed struct {
	Proxy     string
	ClusterID string `json:"cluster_id"`
	Resources map[string]struct{ Sent, Acked, LastError string }
}

// as tells what is missing until the entry looks as the mode of its pod makes it look.
func (l *listed) as(p *pod) string {
	clusters, listeners := l.Resources[cds], l.Resources[lds]
	// Without certificates the real Envoy never comes to ask for listeners.
	if clusters.Sent == "" || listeners.Sent == "" && p.mode != "envoy" {
		return "was sent nothing yet"
	}
	switch p.mode {
	case "mute":
		return ""
	case "nack":
		if listeners.LastError == "" {
			return "has not refused yet"
		}
	case "once":
		if clusters.Acked == "" || listeners.Acked == "" {
			return "has not acknowledged yet"
		}
	default:
		for kind, r := range l.Resources {
			if p.real() && r.LastError != "" {
				continue // the real Envoy may well refuse
			}
			if r.Sent != r.Acked || r.LastError != "" {
				return "has not acknowledged " + kind[strings.LastIndex(kind, ".")+1:]
			}
		}
	}
	return ""
}

// syncz asks an istiod. Its own loopback address is asked, as a port-forward does: that source is trusted.
func syncz(ctx context.Context, client *http.Client, ip string) ([]listed, error) {
	_, rest, _ := strings.Cut(ip, ".")
	a := &api{"http://127." + rest + ":15014", client}
	body, err := a.get(ctx, "/debug/syncz")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var all []listed
	return all, json.NewDecoder(body).Decode(&all)
}

// unsettled says what is not yet as it should be. An istiod that is stopped cannot be asked, so what it knows does not count.
func (f *fleet) unsettled(ctx context.Context, client *http.Client) []string {
	f.mu.Lock()
	pods, planes, asked := map[string]*pod{}, map[key]int{}, []istiod{}
	for k, p := range f.pods {
		pods[k.String()] = p
	}
	for _, o := range f.objects {
		if i := o.istiod(); i != nil && i.answers {
			asked = append(asked, *i)
			planes[i.serves]++
		}
	}
	elsewhere, load, why := map[string]int{}, map[key]int{}, []string{}
	for k, list := range f.streams {
		for _, s := range list {
			load[s.server.pod]++
			if !s.server.answers && !s.leaving {
				elsewhere[k.String()]++
			}
		}
	}
	f.mu.Unlock()

	found := map[string]int{}
	for _, i := range asked {
		for _, j := range asked {
			if i.serves == j.serves && load[i.pod] > load[j.pod]+1 {
				why = append(why, fmt.Sprintf("%s has %d proxies and %s %d", i.pod, load[i.pod], j.pod, load[j.pod]))
			}
		}
		all, err := syncz(ctx, client, i.ip)
		if err != nil {
			why = append(why, fmt.Sprintf("%s: %v", i.pod, err))
			continue
		}
		for _, l := range all {
			if l.ClusterID == "" {
				continue // istioctl, which is a client for as long as it asks
			}
			found[l.Proxy]++
			if p := pods[l.Proxy]; p == nil || p.plane != i.serves {
				why = append(why, fmt.Sprintf("%s is still on %s", l.Proxy, i.pod))
			} else if missing := l.as(p); missing != "" {
				why = append(why, l.Proxy+" "+missing)
			}
		}
	}
	for name, p := range pods {
		want := min(p.streams(), planes[p.plane])
		if have := found[name] + elsewhere[name]; have < want || found[name] > p.streams() {
			why = append(why, fmt.Sprintf("%s (%s) is on %d of %d istiods", name, p.mode, have, want))
		}
	}
	slices.Sort(why)
	return why
}

// serve answers /settled, which waits (?seconds=) and says what is missing, and /streams, who is connected to whom.
func (f *fleet) serve(server *api) http.Handler {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	mux := http.NewServeMux()
	mux.HandleFunc("/settled", func(w http.ResponseWriter, r *http.Request) {
		limit := 90 * time.Second
		if asked, err := time.ParseDuration(r.FormValue("seconds") + "s"); err == nil {
			limit = asked
		}
		start := time.Now()
		end := start.Add(limit)
		// What the caller has just seen must count, also when the watch is a moment behind.
		objects, _, err := server.list(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		f.replace(objects)
		for {
			why := f.unsettled(r.Context(), client)
			if len(why) == 0 {
				log.Printf("at rest after %v", time.Since(start).Round(time.Millisecond))
				return
			}
			if time.Now().After(end) {
				more := ""
				if len(why) > 20 {
					more = fmt.Sprintf("\nand %d more", len(why)-20)
					why = why[:20]
				}
				http.Error(w, strings.Join(why, "\n")+more, http.StatusConflict)
				return
			}
			select {
			case <-r.Context().Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	mux.HandleFunc("/streams", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, k := range sorted(f.pods) {
			on := []string{}
			for _, s := range f.streams[k] {
				on = append(on, s.server.pod.String())
			}
			io.WriteString(w, fmt.Sprintf("%s %s %s %s\n", k, f.pods[k].mode, f.pods[k].plane, strings.Join(on, ",")))
		}
	})
	return mux
}
