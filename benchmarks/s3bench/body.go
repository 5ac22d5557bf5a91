package main

import (
	"bufio"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var (
	errTooLong   = errors.New("IncompleteBody")
	errBadDigest = errors.New("BadDigest")
	checksums    = map[string]func() hash.Hash{
		"X-Amz-Checksum-Crc32":     func() hash.Hash { return crc32.NewIEEE() },
		"X-Amz-Checksum-Crc32c":    func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
		"X-Amz-Checksum-Crc64nvme": func() hash.Hash { return crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5)) },
		"X-Amz-Checksum-Sha256":    sha256.New,
	}
)

// body reads a request's content, at the shaped rate, and the trailing headers of an aws-chunked one.
func body(r *http.Request) ([]byte, http.Header, error) {
	size := r.ContentLength
	trailer := http.Header{}
	var source io.Reader = r.Body
	if decoded := r.Header.Get("x-amz-decoded-content-length"); decoded != "" {
		size, _ = strconv.ParseInt(decoded, 10, 64)
		source = &awsChunked{r: bufio.NewReaderSize(r.Body, 1<<18), trailer: trailer}
	}
	if *rate > 0 {
		source = &slow{r: source, start: time.Now()}
	}
	content, err := readAll(source, size)
	if err == nil && *verify {
		err = check(content, r.Header, trailer)
	}
	return content, trailer, err
}

// readAll reads size bytes, if it is known, and what ends the source after them.
func readAll(source io.Reader, size int64) ([]byte, error) {
	if size < 0 {
		return io.ReadAll(source)
	}
	content := memory(size)
	if _, err := io.ReadFull(source, content); err != nil {
		return nil, err
	}
	var more [1]byte
	for {
		n, err := source.Read(more[:])
		if n > 0 {
			return nil, errTooLong
		}
		if err == io.EOF {
			return content, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func check(content []byte, headers ...http.Header) error {
	for _, header := range headers {
		for name, algorithm := range checksums {
			if sent := header.Get(name); sent != "" && sent != digest(algorithm(), content) {
				return errBadDigest
			}
		}
		if sent := header.Get("Content-Md5"); sent != "" && sent != digest(md5.New(), content) {
			return errBadDigest
		}
	}
	return nil
}

func digest(algorithm hash.Hash, content []byte) string {
	algorithm.Write(content)
	return base64.StdEncoding.EncodeToString(algorithm.Sum(nil))
}

// slow delivers at most rate bytes a second, measured over the whole of it.
type slow struct {
	r     io.Reader
	done  int64
	start time.Time
}

func (s *slow) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.done += int64(n)
	pace(s.done, s.start)
	return n, err
}

func pace(done int64, start time.Time) {
	due := time.Duration(float64(done) / float64(*rate) * float64(time.Second))
	if early := due - time.Since(start); early > time.Millisecond {
		time.Sleep(early)
	}
}

// awsChunked decodes Content-Encoding: aws-chunked. Chunk signatures are ignored.
type awsChunked struct {
	r       *bufio.Reader
	left    int64
	done    bool
	trailer http.Header
}

func (c *awsChunked) Read(p []byte) (int, error) {
	if c.done {
		return 0, io.EOF
	}
	if c.left == 0 {
		if err := c.nextChunk(); err != nil {
			return 0, err
		}
		if c.left == 0 {
			return 0, nil
		}
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (c *awsChunked) nextChunk() error {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return io.ErrUnexpectedEOF
	}
	length, _, _ := strings.Cut(strings.TrimSpace(line), ";")
	if length == "" {
		return nil // the line break that ends the chunk before
	}
	if c.left, err = strconv.ParseInt(length, 16, 64); err != nil {
		return err
	}
	if c.left > 0 {
		return nil
	}
	c.done = true
	for {
		line, err := c.r.ReadString('\n')
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			c.trailer.Set(name, value)
		}
		if err != nil || strings.TrimSpace(line) == "" {
			break
		}
	}
	_, err = io.Copy(io.Discard, c.r)
	if err == nil {
		err = io.EOF
	}
	return err
}
