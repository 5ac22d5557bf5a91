package main

import (
	"encoding/json"
	"net/http"
	"sync"
)

// counted holds how often each operation was asked for since the start, under S3's own names.
var counted = struct {
	sync.Mutex
	requests map[string]int
}{requests: map[string]int{}}

func count(r *http.Request, bucket, key string) {
	name := operation(r, bucket, key)
	counted.Lock()
	counted.requests[name]++
	counted.Unlock()
}

// writeStats answers GET /_stats, which is neither counted nor delayed.
func writeStats(w http.ResponseWriter) {
	counted.Lock()
	defer counted.Unlock()
	w.Header().Set("Content-Type", "application/json")
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
