package main

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const smallestPart = 5 << 20

type upload struct {
	sync.Mutex
	bucket, key string
	parts       map[int]*object
	header      http.Header
}

func createUpload(w http.ResponseWriter, r *http.Request, bucket, key string) {
	id := fmt.Sprintf("upload-%d", etags.Add(1))
	mu.Lock()
	_, exists := buckets[bucket]
	if exists {
		uploads[id] = &upload{bucket: bucket, key: key, parts: map[int]*object{}, header: kept(r.Header)}
	}
	mu.Unlock()
	if !exists {
		fail(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	answer(w, "<InitiateMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><UploadId>%s</UploadId></InitiateMultipartUploadResult>",
		escaped(bucket), escaped(key), id)
}

func listUploads(w http.ResponseWriter, bucket string) {
	mu.RLock()
	defer mu.RUnlock()
	var found strings.Builder
	for id, each := range uploads {
		if each.bucket == bucket {
			found.WriteString("<Upload><Key>" + escaped(each.key) + "</Key><UploadId>" + id + "</UploadId></Upload>")
		}
	}
	answer(w, "<ListMultipartUploadsResult><Bucket>%s</Bucket>%s</ListMultipartUploadsResult>", escaped(bucket), found.String())
}

func addPart(w http.ResponseWriter, r *http.Request, id string, part *object) bool {
	mu.RLock()
	into := uploads[id]
	mu.RUnlock()
	if into == nil {
		fail(w, http.StatusNotFound, "NoSuchUpload")
		return false
	}
	number, err := strconv.Atoi(r.URL.Query().Get("partNumber"))
	if err != nil || number < 1 || number > 10_000 {
		fail(w, http.StatusBadRequest, "InvalidArgument")
		return false
	}
	into.Lock()
	into.parts[number] = part
	into.Unlock()
	return true
}

type chosenPart struct {
	PartNumber    int
	ETag          string
	ChecksumCRC32 string
}

func completeUpload(w http.ResponseWriter, r *http.Request, bucket, key string) {
	content, _, err := body(r)
	var chosen struct{ Part []chosenPart }
	if err != nil || xml.Unmarshal(content, &chosen) != nil {
		fail(w, http.StatusBadRequest, "MalformedXML")
		return
	}
	id := r.URL.Query().Get("uploadId")
	mu.RLock()
	from := uploads[id]
	mu.RUnlock()
	if from == nil {
		fail(w, http.StatusNotFound, "NoSuchUpload")
		return
	}
	made, problem := from.joined(chosen.Part)
	if problem != "" {
		fail(w, http.StatusBadRequest, problem)
		return
	}
	if !place(w, r, bucket, key, made) {
		return
	}
	mu.Lock()
	delete(uploads, id)
	mu.Unlock()
	answer(w, `<CompleteMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><ETag>"%s"</ETag></CompleteMultipartUploadResult>`,
		escaped(bucket), escaped(key), made.etag)
}

// joined is the object made of the chosen parts, or S3's code for what is wrong with the choice.
func (u *upload) joined(chosen []chosenPart) (*object, string) {
	u.Lock()
	defer u.Unlock()
	made := &object{modified: time.Now(), header: u.header, etag: fmt.Sprintf("%032x-%d", etags.Add(1), len(chosen))}
	last := 0
	for i, each := range chosen {
		part := u.parts[each.PartNumber]
		switch {
		case part == nil || part.etag != strings.Trim(each.ETag, `"`):
			return nil, "InvalidPart"
		case *verify && part.crc32 != each.ChecksumCRC32:
			return nil, "InvalidPart"
		case each.PartNumber <= last:
			return nil, "InvalidPartOrder"
		case i < len(chosen)-1 && part.size < smallestPart:
			return nil, "EntityTooSmall"
		}
		last = each.PartNumber
		made.parts = append(made.parts, part.parts...)
		made.size += part.size
	}
	return made, ""
}
