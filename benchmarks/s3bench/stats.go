package main

import (
	"encoding/json"
	"io"
	"net/http"
	"sync"
)

// counted holds how often each operation was asked for since the start, and how many bytes its bodies had on the
// wire, under S3's own names.
var counted = struct {
	sync.Mutex
	requests map[string]int64
	received map[string]int64
}{requests: map[string]int64{}, received: map[string]int64{}}

func count(r *http.Request, bucket, key string) {
	name := operation(r, bucket, key)
	counted.Lock()
	counted.requests[name]++
	counted.Unlock()
	r.Body = &weighed{r.Body, name}
}

// weighed adds what is read of a body to its operation's bytes.
type weighed struct {
	io.ReadCloser
	name string
}

func (b *weighed) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		counted.Lock()
		counted.received[b.name] += int64(n)
		counted.Unlock()
	}
	return n, err
}

// writeStats answers GET /_stats with requests, GET /_stats/received with bytes and GET /_stats/faults with what went
// wrong; none of these is counted or delayed.
func writeStats(w http.ResponseWriter, path string) {
	counted.Lock()
	defer counted.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if path == "/_stats/received" {
		json.NewEncoder(w).Encode(counted.received)
		return
	}
	if path == "/_stats/faults" {
		happened.Lock()
		defer happened.Unlock()
		json.NewEncoder(w).Encode(happened.times)
		return
	}
	json.NewEncoder(w).Encode(counted.requests)
}

func operation(r *http.Request, bucket, key string) string {
	query, copies := r.URL.Query(), r.Header.Get("x-amz-copy-source") != ""
	switch {
	case bucket == "":
		return "ListBuckets"
	case key == "" && query.Has("location"):
		return "GetBucketLocation"
	case key == "" && r.Method == "POST":
		return "DeleteObjects"
	case key == "":
		return map[string]string{"GET": "ListObjects", "HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}[r.Method]
	case query.Has("uploads"):
		return "CreateMultipartUpload"
	case query.Has("uploadId") && r.Method == "PUT" && copies:
		return "UploadPartCopy"
	case query.Has("uploadId"):
		return map[string]string{"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}[r.Method]
	case copies:
		return "CopyObject"
	}
	return map[string]string{"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}[r.Method]
}
