package main

import (
	"runtime"
	"sync"
	"unsafe"
)

// Memory that is touched for the first time costs more than receiving what goes into it. So that of large bodies
// is used again, once the objects are gone that it belonged to, and nobody is being sent it.
const (
	large = 1 << 20
	most  = 1 << 30 // kept spare; the rest is the garbage collector's
)

var spare struct {
	sync.Mutex
	held [][]byte
	size int64
}

// memory is size bytes, which may hold anything.
func memory(size int64) []byte {
	if size < large {
		return make([]byte, size)
	}
	content := taken(size)
	if content == nil {
		content = make([]byte, size)
	}
	whole := cap(content)
	runtime.SetFinalizer(unsafe.SliceData(content), func(start *byte) {
		spare.Lock()
		defer spare.Unlock()
		if spare.size < most {
			spare.held = append(spare.held, unsafe.Slice(start, whole))
			spare.size += int64(whole)
		}
	})
	return content
}

// taken is the first spare memory that is large enough, and not twice as large, or nil.
func taken(size int64) []byte {
	spare.Lock()
	defer spare.Unlock()
	for i, each := range spare.held {
		if whole := int64(cap(each)); size <= whole && whole < 2*size {
			spare.held = append(spare.held[:i], spare.held[i+1:]...)
			spare.size -= whole
			return each[:size]
		}
	}
	return nil
}
