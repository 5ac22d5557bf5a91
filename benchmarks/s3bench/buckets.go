package main

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// The whole state of the server, all of it guarded by mu.
var (
	mu      sync.RWMutex
	buckets = map[string]map[string]*object{}
	uploads = map[string]*upload{}
)

func listBuckets(w http.ResponseWriter) {
	mu.RLock()
	defer mu.RUnlock()
	var found strings.Builder
	for name := range buckets {
		found.WriteString("<Bucket><Name>" + escaped(name) + "</Name></Bucket>")
	}
	answer(w, "<ListAllMyBucketsResult><Buckets>%s</Buckets></ListAllMyBucketsResult>", found.String())
}

func handleBucket(w http.ResponseWriter, r *http.Request, bucket string) {
	query := r.URL.Query()
	mu.Lock()
	objects, exists := buckets[bucket]
	if r.Method == "PUT" && !exists {
		buckets[bucket] = map[string]*object{}
	} else if r.Method == "DELETE" {
		delete(buckets, bucket)
	}
	mu.Unlock()
	switch {
	case r.Method == "PUT":
		w.WriteHeader(http.StatusOK)
	case !exists:
		fail(w, http.StatusNotFound, "NoSuchBucket")
	case r.Method == "DELETE":
		runtime.GC() // so that what was in it is spare from now on
		w.WriteHeader(http.StatusNoContent)
	case r.Method == "POST" && query.Has("delete"):
		deleteObjects(w, r, bucket)
	case r.Method == "GET" && query.Has("uploads"):
		listUploads(w, bucket)
	case r.Method == "GET" && query.Has("location"):
		answer(w, "<LocationConstraint/>")
	case r.Method == "GET":
		listObjects(w, bucket, objects, query)
	}
}

func deleteObjects(w http.ResponseWriter, r *http.Request, bucket string) {
	content, _, err := body(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	var asked struct {
		Quiet  bool
		Object []struct{ Key string }
	}
	if xml.Unmarshal(content, &asked) != nil {
		fail(w, http.StatusBadRequest, "MalformedXML")
		return
	}
	var deleted strings.Builder
	mu.Lock()
	for _, each := range asked.Object {
		delete(buckets[bucket], each.Key)
		if !asked.Quiet {
			deleted.WriteString("<Deleted><Key>" + escaped(each.Key) + "</Key></Deleted>")
		}
	}
	mu.Unlock()
	answer(w, "<DeleteResult>%s</DeleteResult>", deleted.String())
}

// listing collects one page of ListObjectsV2: keys, and prefixes up to the delimiter in their place.
type listing struct {
	page      strings.Builder
	prefixes  map[string]bool
	count     int
	last      string
	truncated bool
}

func listObjects(w http.ResponseWriter, bucket string, objects map[string]*object, query url.Values) {
	prefix, after := query.Get("prefix"), query.Get("continuation-token")
	if after == "" {
		after = query.Get("start-after")
	}
	limit, err := strconv.Atoi(query.Get("max-keys"))
	if err != nil {
		limit = 1000
	}
	mu.RLock()
	found := listing{prefixes: map[string]bool{}}
	found.fill(objects, prefix, query.Get("delimiter"), after, limit)
	mu.RUnlock()
	next := ""
	if found.truncated {
		next = "<NextContinuationToken>" + escaped(found.last) + "</NextContinuationToken>"
	}
	answer(w, `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>%s</Name>%s`+
		"<KeyCount>%d</KeyCount><MaxKeys>%d</MaxKeys><IsTruncated>%v</IsTruncated>%s</ListBucketResult>",
		escaped(bucket), found.page.String(), found.count, limit, found.truncated, next)
}

func (l *listing) fill(objects map[string]*object, prefix, delimiter, after string, limit int) {
	keys := make([]string, 0, len(objects))
	for key := range objects {
		if strings.HasPrefix(key, prefix) && key > after {
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	for _, key := range keys {
		shared := ""
		if delimiter != "" {
			if at := strings.Index(key[len(prefix):], delimiter); at >= 0 {
				shared = key[:len(prefix)+at+len(delimiter)]
			}
		}
		if shared != "" && (l.prefixes[shared] || strings.HasPrefix(after, shared)) {
			l.last = key
			continue
		}
		if l.count >= limit {
			l.truncated = true
			return
		}
		l.count++
		l.last = key
		l.add(key, shared, objects[key])
	}
}

func (l *listing) add(key, shared string, o *object) {
	if shared != "" {
		l.prefixes[shared] = true
		l.page.WriteString("<CommonPrefixes><Prefix>" + escaped(shared) + "</Prefix></CommonPrefixes>")
		return
	}
	l.page.WriteString("<Contents><Key>" + escaped(key) + "</Key><LastModified>" +
		o.modified.UTC().Format("2006-01-02T15:04:05.000Z") + `</LastModified><ETag>"` + o.etag +
		`"</ETag><Size>` + strconv.FormatInt(o.size, 10) + "</Size><StorageClass>STANDARD</StorageClass></Contents>")
}

func escaped(text string) string {
	var out strings.Builder
	xml.EscapeText(&out, []byte(text))
	return out.String()
}
