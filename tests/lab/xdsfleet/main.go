// xdsfleet plays the proxies of a lab: every running pod that has a proxy is connected to an istiod of its revision, as
// long as both are there. It follows the API server; nothing needs to be told to it.
//
// A stream is xDS (the aggregated kind, state of the world) over plaintext 15010, with the node that the pod's own
// agent would send. The pod's annotation lab/xds says how the proxy behaves:
//
//	ack      acknowledges everything (the default)
//	nack     refuses its listeners, with the text of the annotation lab/xds-error or one of Envoy's
//	mute     takes everything and never acknowledges
//	once     acknowledges the first answer of each type, and nothing after it
//	twice    is connected to two istiods at once
//	none     is not connected
//	envoy    a real Envoy connects (tests/lab/envoy)
//	sidecar  a real pilot-agent with its Envoy connects (tests/lab/sidecar)
//
// Proxies are spread evenly over the revision's istiods that are ready. One whose istiod ends goes to another; one whose
// istiod is stopped does not notice.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

func main() {
	url := flag.String("server", "https://127.0.0.1:6443", "the API server")
	pki := flag.String("pki", "", "folder with ca.crt, admin.crt and admin.key")
	listen := flag.String("listen", "127.0.0.1:15099", "where /settled and /streams are answered")
	flag.Parse()
	log.SetFlags(0)
	ca, err := os.ReadFile(filepath.Join(*pki, "ca.crt"))
	if err != nil {
		log.Fatal(err)
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(*pki, "admin.crt"), filepath.Join(*pki, "admin.key"))
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	server := &api{*url, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}}}}}

	ctx, f := context.Background(), newFleet()
	go f.keep(ctx)
	go func() { log.Fatal(http.ListenAndServe(*listen, f.serve(server))) }()
	for {
		objects, version, err := server.list(ctx)
		if err == nil {
			f.replace(objects)
			err = server.watch(ctx, version, f.see)
		}
		log.Printf("looking again: %v", err)
		time.Sleep(time.Second)
	}
}
