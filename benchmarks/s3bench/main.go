// s3bench is an in-memory S3 for measuring clients: objects, ranges, conditions, multipart uploads with part
// copies, ListObjectsV2 and DeleteObjects. It checks no signatures and keeps nothing on disk.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

var (
	addr    = flag.String("addr", "127.0.0.1:0", "where to listen; port 0 takes a free one")
	latency = flag.Duration("latency", 0, "wait this long before each request")
	rate    = flag.Int64("rate", 0, "bytes/s of each request's body and answer (0: no limit)")
	verify  = flag.Bool("verify", false, "refuse bodies that do not match their checksums, and uploads completed with others")
	domd5   = flag.Bool("md5", false, "real MD5 ETags, as S3 has, at the cost of computing them")
	leash   = flag.Bool("leash", false, "end when standard input does, so as never to outlive who started this")
)

var notImplemented = []string{"tagging", "acl", "lifecycle", "versioning", "versionId", "versions", "policy"}

func main() {
	flag.Parse()
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	if *leash {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
	}
	log.Fatal(http.Serve(listener, weather(handle)))
}

func handle(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_stats") {
		writeStats(w, r.URL.Path)
		return
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	count(r, bucket, key)
	if *latency > 0 {
		time.Sleep(*latency)
	}
	w.Header().Set("x-amz-request-id", "s3bench")
	query := r.URL.Query()
	for _, name := range notImplemented {
		if query.Has(name) {
			fail(w, http.StatusNotImplemented, "NotImplemented")
			return
		}
	}
	switch {
	case bucket == "":
		listBuckets(w)
	case key == "":
		handleBucket(w, r, bucket)
	default:
		handleObject(w, r, bucket, key)
	}
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, code)
}

func answer(w http.ResponseWriter, format string, values ...any) {
	w.Header().Set("Content-Type", "application/xml")
	fmt.Fprintf(w, `<?xml version="1.0"?>`+format, values...)
}
