package main

import (
	"flag"
	"math/rand"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

var faults = flag.Float64("faults", 0, "share of requests that go wrong: refused, cut off, or done and not answered")

// happened holds how often each thing went wrong since the start.
var happened = struct {
	sync.Mutex
	times map[string]int64
}{times: map[string]int64{}}

// weather lets some requests go wrong on their way to the handler, or their answers on the way back.
func weather(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_stats") || rand.Float64() >= *faults {
			handler(w, r)
			return
		}
		switch rand.Intn(4) {
		case 0:
			note("500")
			fail(w, http.StatusInternalServerError, "InternalError")
		case 1:
			note("503")
			fail(w, http.StatusServiceUnavailable, "SlowDown")
		case 2:
			note("cut off before it was read")
			panic(http.ErrAbortHandler)
		default:
			spoil(w, r, handler)
		}
	}
}

// spoil has the request done, and sends half of a GET's answer and nothing of any other.
func spoil(w http.ResponseWriter, r *http.Request, handler http.HandlerFunc) {
	if r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "" {
		note("answer cut off")
		handler(&torn{w, -1}, r)
		return
	}
	note("done, not answered")
	handler(&deaf{http.Header{}}, r)
	panic(http.ErrAbortHandler)
}

func note(what string) {
	happened.Lock()
	happened.times[what]++
	happened.Unlock()
}

// deaf is an answer that nobody gets.
type deaf struct{ header http.Header }

func (d *deaf) Header() http.Header             { return d.header }
func (d *deaf) Write(piece []byte) (int, error) { return len(piece), nil }
func (d *deaf) WriteHeader(int)                 {}

// torn is an answer whose second half is not sent.
type torn struct {
	http.ResponseWriter
	left int
}

func (t *torn) Write(piece []byte) (int, error) {
	if t.left < 0 {
		whole, _ := strconv.Atoi(t.Header().Get("Content-Length"))
		t.left = whole / 2
	}
	if len(piece) >= t.left {
		t.ResponseWriter.Write(piece[:t.left])
		http.NewResponseController(t.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	t.left -= len(piece)
	return t.ResponseWriter.Write(piece)
}
