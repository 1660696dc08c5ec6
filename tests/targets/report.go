// A CPU profile and a heap profile of Go's own making: inlined functions, recursion, several sample types.
package main

import (
	"os"
	"runtime"
	"runtime/pprof"
	"time"
)

var kept [][]byte

func inlined(i int) int { return i*i ^ i>>3 }

//go:noinline
func leaf(n int) int {
	sum := 0
	for i := 0; i < n; i++ {
		sum += inlined(i)
	}
	return sum
}

func fib(n int) int {
	if n < 2 {
		return n
	}
	return fib(n-1) + fib(n-2)
}

//go:noinline
func keep() {
	for i := 0; i < 64; i++ {
		kept = append(kept, make([]byte, 100_000))
	}
}

func create(path string) *os.File {
	file, err := os.Create(path)
	if err != nil {
		panic(err)
	}
	return file
}

func main() {
	runtime.MemProfileRate = 4096
	cpu := create(os.Args[1])
	if err := pprof.StartCPUProfile(cpu); err != nil {
		panic(err)
	}
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
		leaf(100_000)
		fib(20)
	}
	pprof.StopCPUProfile()
	cpu.Close()
	keep()
	runtime.GC()
	heap := create(os.Args[2])
	if err := pprof.WriteHeapProfile(heap); err != nil {
		panic(err)
	}
	heap.Close()
	runtime.KeepAlive(kept)
}
