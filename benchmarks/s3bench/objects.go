package main

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// An object never changes once it is in a bucket; its parts may be shared with copies of it.
type object struct {
	parts    [][]byte
	size     int64
	etag     string
	modified time.Time
	header   http.Header
	crc32    string // as the client gave it
}

var etags atomic.Int64

func newObject(content []byte, header http.Header) *object {
	etag := fmt.Sprintf("%032x", etags.Add(1))
	if *domd5 {
		sum := md5.Sum(content)
		etag = hex.EncodeToString(sum[:])
	}
	return &object{[][]byte{content}, int64(len(content)), etag, time.Now(), header, ""}
}

// section is the bytes of the object from start, copied.
func (o *object) section(start, length int64) []byte {
	content := make([]byte, 0, length)
	o.each(start, length, func(piece []byte) error {
		content = append(content, piece...)
		return nil
	})
	return content
}

// each calls send with length bytes from start, piece by piece, until it fails.
func (o *object) each(start, length int64, send func([]byte) error) {
	for _, part := range o.parts {
		if start >= int64(len(part)) {
			start -= int64(len(part))
			continue
		}
		part = part[start:]
		start = 0
		part = part[:min(int64(len(part)), length)]
		length -= int64(len(part))
		for len(part) > 0 {
			n := min(len(part), 1<<20)
			if send(part[:n]) != nil {
				return
			}
			part = part[n:]
		}
	}
}

func handleObject(w http.ResponseWriter, r *http.Request, bucket, key string) {
	query := r.URL.Query()
	switch r.Method {
	case "PUT":
		putObject(w, r, bucket, key)
	case "POST":
		if query.Has("uploads") {
			createUpload(w, r, bucket, key)
		} else {
			completeUpload(w, r, bucket, key)
		}
	case "GET", "HEAD":
		mu.RLock()
		found := buckets[bucket][key]
		mu.RUnlock()
		if found == nil {
			fail(w, http.StatusNotFound, "NoSuchKey")
			return
		}
		getObject(w, r, found)
	case "DELETE":
		mu.Lock()
		if id := query.Get("uploadId"); id != "" {
			delete(uploads, id)
		} else {
			delete(buckets[bucket], key)
		}
		mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	}
}

// putObject stores an object, or a part of one, from the request's body or from another object.
func putObject(w http.ResponseWriter, r *http.Request, bucket, key string) {
	copied := r.Header.Get("x-amz-copy-source")
	var made *object
	if copied != "" {
		made = copySource(w, r, copied)
	} else {
		made = receive(w, r)
	}
	if made == nil {
		return
	}
	result := "CopyObjectResult"
	if id := r.URL.Query().Get("uploadId"); id != "" {
		result = "CopyPartResult"
		if !addPart(w, r, id, made) {
			return
		}
	} else if !place(w, r, bucket, key, made) {
		return
	}
	if copied != "" {
		answer(w, `<%s><ETag>"%s"</ETag></%s>`, result, made.etag, result)
		return
	}
	w.Header().Set("ETag", `"`+made.etag+`"`)
}

func receive(w http.ResponseWriter, r *http.Request) *object {
	content, trailer, err := body(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return nil
	}
	for name := range checksums {
		if sent := r.Header.Get(name) + trailer.Get(name); sent != "" {
			w.Header().Set(name, sent)
		}
	}
	made := newObject(content, kept(r.Header))
	made.crc32 = r.Header.Get("X-Amz-Checksum-Crc32") + trailer.Get("X-Amz-Checksum-Crc32")
	return made
}

func copySource(w http.ResponseWriter, r *http.Request, from string) *object {
	from, _ = url.PathUnescape(from)
	bucket, key, _ := strings.Cut(strings.TrimPrefix(from, "/"), "/")
	mu.RLock()
	source := buckets[bucket][key]
	mu.RUnlock()
	if source == nil {
		fail(w, http.StatusNotFound, "NoSuchKey")
		return nil
	}
	if wanted := r.Header.Get("x-amz-copy-source-if-match"); wanted != "" && strings.Trim(wanted, `"`) != source.etag {
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return nil
	}
	var first, last int64
	if _, err := fmt.Sscanf(r.Header.Get("x-amz-copy-source-range"), "bytes=%d-%d", &first, &last); err != nil {
		whole := *source
		whole.modified = time.Now()
		return &whole
	}
	if last >= source.size {
		fail(w, http.StatusBadRequest, "InvalidArgument")
		return nil
	}
	return newObject(source.section(first, last-first+1), nil)
}

// place puts the object into its bucket if the request's conditions hold.
func place(w http.ResponseWriter, r *http.Request, bucket, key string, made *object) bool {
	mu.Lock()
	defer mu.Unlock()
	objects := buckets[bucket]
	if objects == nil {
		fail(w, http.StatusNotFound, "NoSuchBucket")
		return false
	}
	current := objects[key]
	absent := r.Header.Get("If-None-Match") == "*"
	wanted := strings.Trim(r.Header.Get("If-Match"), `"`)
	if absent && current != nil || wanted != "" && (current == nil || current.etag != wanted) {
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return false
	}
	objects[key] = made
	return true
}

func kept(header http.Header) http.Header {
	own := http.Header{}
	for name, values := range header {
		if strings.HasPrefix(name, "X-Amz-Meta-") {
			own[strings.ToLower(name)] = values // as S3 does, past net/http's own spelling
		} else if name == "Content-Type" || name == "Content-Encoding" {
			own[name] = values
		}
	}
	return own
}

func getObject(w http.ResponseWriter, r *http.Request, o *object) {
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	for name, values := range o.header {
		header[name] = values
	}
	header.Set("ETag", `"`+o.etag+`"`)
	header.Set("Accept-Ranges", "bytes")
	header.Set("Last-Modified", o.modified.UTC().Format(http.TimeFormat))
	if wanted := r.Header.Get("If-Match"); wanted != "" && strings.Trim(wanted, `"`) != o.etag {
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	if known := r.Header.Get("If-None-Match"); known != "" && strings.Trim(known, `"`) == o.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	start, length, status := int64(0), o.size, http.StatusOK
	if asked, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
		if start, length = section(asked, o.size); length <= 0 {
			fail(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange")
			return
		}
		status = http.StatusPartialContent
		header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, start+length-1, o.size))
	}
	header.Set("Content-Length", strconv.FormatInt(length, 10))
	w.WriteHeader(status)
	if r.Method == "GET" {
		send(w, o, start, length)
	}
}

// section is what "first-last", "first-" and "-count" mean for an object of that size.
func section(asked string, size int64) (start, length int64) {
	first, last, _ := strings.Cut(asked, "-")
	if first == "" {
		length, _ = strconv.ParseInt(last, 10, 64)
		length = min(length, size)
		return size - length, length
	}
	start, _ = strconv.ParseInt(first, 10, 64)
	end := size
	if n, err := strconv.ParseInt(last, 10, 64); err == nil {
		end = min(end, n+1)
	}
	return start, end - start
}

func send(w io.Writer, o *object, start, length int64) {
	began, sent := time.Now(), int64(0)
	o.each(start, length, func(piece []byte) error {
		n, err := w.Write(piece)
		sent += int64(n)
		if *rate > 0 {
			pace(sent, began)
		}
		return err
	})
}
