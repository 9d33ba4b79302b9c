// The workloads of `make bench` in Go, for comparison.               SPDX-License-Identifier: MIT
//
//	go build -o bench_go bench.go && GOMAXPROCS=2 ./bench_go WORKLOAD [N]
//
// Written for Go 1.19 with the standard library only, the way Go programs do these things: channels, a
// sync.WaitGroup to await many goroutines, buffered channels where many send to one.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var workload string
var amount int

func count(standard int) int {
	if amount > 0 {
		return amount
	}
	return standard
}

func fail(what string) {
	fmt.Fprintf(os.Stderr, "bench.go %s: %s\n", workload, what)
	os.Exit(1)
}

func must(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func report(suffix string, value float64, extra string) {
	fmt.Printf("%s%s\tgo\t%.2f\t%s\n", workload, suffix, value, extra)
}

func per(d time.Duration, operations int) float64 {
	return float64(d.Nanoseconds()) / float64(operations)
}

func ponger(in <-chan int, out chan<- int) {
	for n := range in {
		out <- n + 1
	}
	close(out)
}

func ping(rounds int) {
	there, back := make(chan int), make(chan int)
	go ponger(there, back)
	for i := 0; i < rounds; i++ {
		there <- i
		if <-back != i+1 {
			fail("wrong answer")
		}
	}
	close(there)
}

func pingpong() {
	rounds := count(1000000)
	ping(rounds / 100)
	start := time.Now()
	ping(rounds)
	report("", per(time.Since(start), rounds), "per round trip")
}

func pingpongPairs() {
	const pairs = 64
	rounds := count(3200000) / pairs
	var all sync.WaitGroup
	all.Add(pairs)
	start := time.Now()
	for i := 0; i < pairs; i++ {
		go func() {
			ping(rounds)
			all.Done()
		}()
	}
	all.Wait()
	report("", per(time.Since(start), pairs*rounds), "per round trip, 64 pairs")
}

func ring() {
	const size = 503
	hops := count(2000000)
	done := make(chan struct{})
	node := func(in <-chan int, out chan<- int) {
		for left := range in {
			if left == 0 {
				done <- struct{}{}
			} else {
				out <- left - 1
			}
		}
	}
	first := make(chan int)
	in := first
	for i := 0; i < size-1; i++ {
		out := make(chan int)
		go node(in, out)
		in = out
	}
	go node(in, first)
	first <- size
	<-done
	start := time.Now()
	first <- hops
	<-done
	report("", per(time.Since(start), hops), "per hop, 503 goroutines")
}

func spawn() {
	n := count(2000000)
	var all sync.WaitGroup
	all.Add(n)
	start := time.Now()
	for i := 0; i < n; i++ {
		go all.Done()
	}
	all.Wait()
	report("", per(time.Since(start), n), "per goroutine")
}

func skynetNode(parent chan<- int, number, size int) {
	if size == 1 {
		parent <- number
		return
	}
	sums := make(chan int, 10)
	for i := 0; i < 10; i++ {
		go skynetNode(sums, number+i*(size/10), size/10)
	}
	sum := 0
	for i := 0; i < 10; i++ {
		sum += <-sums
	}
	parent <- sum
}

func skynet() {
	leaves := 1000000
	for amount > 0 && leaves > amount && leaves > 10 { // a power of ten
		leaves /= 10
	}
	result := make(chan int)
	start := time.Now()
	go skynetNode(result, 0, leaves)
	if <-result != leaves*(leaves-1)/2 {
		fail("wrong sum")
	}
	report("", per(time.Since(start), leaves), "per leaf")
}

func fanin() {
	const producers = 8
	n := count(4000000) / producers
	items := make(chan int, 1024)
	start := time.Now()
	for i := 0; i < producers; i++ {
		go func() {
			for k := 1; k <= n; k++ {
				items <- k
			}
		}()
	}
	sum := 0
	for i := 0; i < n*producers; i++ {
		sum += <-items
	}
	d := time.Since(start)
	if sum != producers*n*(n+1)/2 {
		fail("wrong sum")
	}
	report("", per(d, n*producers), "per message, 8 producers")
}

func residentBytes() int {
	text, err := os.ReadFile("/proc/self/statm")
	must(err)
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	must(err)
	return pages * os.Getpagesize()
}

func idle(n int) {
	type state struct{ words [8]uint64 }
	inboxes := make([]chan struct{}, n)
	for i := range inboxes {
		inboxes[i] = nil // touched now, so that it does not count below
	}
	extra := fmt.Sprintf("per goroutine, %d goroutines", n)
	awake := make(chan struct{}, 1024)
	var started sync.WaitGroup
	started.Add(n)

	before := residentBytes()
	start := time.Now()
	for i := range inboxes {
		inbox := make(chan struct{})
		inboxes[i] = inbox
		go func() {
			var s state
			started.Done()
			for range inbox {
				s.words[0]++
				awake <- struct{}{}
			}
		}()
	}
	started.Wait()
	created := time.Since(start)
	time.Sleep(100 * time.Millisecond)
	bytes := residentBytes() - before

	start = time.Now()
	go func() {
		for _, inbox := range inboxes {
			inbox <- struct{}{}
		}
	}()
	for range inboxes {
		<-awake
	}
	report("", per(time.Since(start), n), extra)
	report("_create", per(created, n), extra)
	report("_bytes", float64(bytes)/float64(n), "unit=bytes")
}

func timersCancel() {
	n := count(2000000)
	start := time.Now()
	for i := 0; i < n; i++ {
		if !time.NewTimer(5 * time.Second).Stop() {
			fail("cancel")
		}
	}
	report("", per(time.Since(start), n), "per start and cancel")
}

func timersFire() {
	n := count(1000000)
	timers := make([]*time.Timer, n)
	start := time.Now()
	for i := range timers {
		timers[i] = time.NewTimer(10 * time.Millisecond)
	}
	for _, t := range timers {
		<-t.C
	}
	report("", per(time.Since(start), n), "per timer of 10 ms, 1 M timers")
}

func echo() {
	const connections, message = 50, 64
	rounds := count(200000) / connections
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				buffer := make([]byte, 1024)
				for {
					n, err := c.Read(buffer)
					if err != nil {
						c.Close()
						return
					}
					if _, err = c.Write(buffer[:n]); err != nil {
						c.Close()
						return
					}
				}
			}()
		}
	}()
	var ready, done sync.WaitGroup
	ready.Add(connections)
	done.Add(connections)
	begin := make(chan struct{})
	for i := 0; i < connections; i++ {
		go func() {
			c, err := net.Dial("tcp", listener.Addr().String())
			must(err)
			out, in := make([]byte, message), make([]byte, message)
			trip := func() {
				_, err := c.Write(out)
				must(err)
				_, err = io.ReadFull(c, in)
				must(err)
			}
			trip()
			ready.Done()
			<-begin
			for k := 0; k < rounds; k++ {
				trip()
			}
			done.Done()
			c.Close()
		}()
	}
	ready.Wait()
	start := time.Now()
	close(begin)
	done.Wait()
	report("", per(time.Since(start), rounds*connections), "per message there and back, 50 connections")
}

func preemptDelay() {
	const samples = 200
	var computing, stop atomic.Bool
	done := make(chan uint64)
	go func() {
		x := uint64(1)
		computing.Store(true)
		for !stop.Load() {
			x = x*6364136223846793005 + 1
		}
		done <- x
	}()
	for !computing.Load() {
		time.Sleep(time.Millisecond)
	}
	late := make([]int, samples)
	for i := range late {
		start := time.Now()
		<-time.After(time.Millisecond)
		late[i] = int(time.Since(start) - time.Millisecond)
	}
	stop.Store(true)
	<-done
	sort.Ints(late)
	report("", float64(late[samples*99/100-1]), fmt.Sprintf("p99 of %d; p50_us=%d max_us=%d",
		samples, late[samples/2]/1000, late[samples-1]/1000))
}

type request struct {
	number int
	reply  chan int // nil: no answer wanted
}

func adder(requests <-chan request) {
	sum := 0
	for r := range requests {
		sum += r.number
		if r.reply != nil {
			r.reply <- sum
		}
	}
}

func call() {
	n := count(2000000)
	requests, reply := make(chan request), make(chan int)
	go adder(requests)
	start := time.Now()
	for i := 1; i <= n; i++ {
		requests <- request{1, reply}
		if <-reply != i {
			fail("wrong sum")
		}
	}
	report("", per(time.Since(start), n), "per request with its answer, a pair of channels")
}

func callClients() {
	const clients = 64
	n := count(3200000) / clients
	requests := make(chan request, 1024)
	go adder(requests)
	var all sync.WaitGroup
	all.Add(clients)
	start := time.Now()
	for i := 0; i < clients; i++ {
		go func() {
			reply := make(chan int, 1)
			for k := 0; k < n; k++ {
				requests <- request{1, reply}
				<-reply
			}
			all.Done()
		}()
	}
	all.Wait()
	report("", per(time.Since(start), n*clients), "per request, 64 clients")
}

func cast() {
	n := count(5000000)
	requests := make(chan request, 1024)
	reply := make(chan int)
	go adder(requests)
	start := time.Now()
	for i := 0; i < n; i++ {
		requests <- request{1, nil}
	}
	requests <- request{0, reply}
	if <-reply != n {
		fail("wrong sum")
	}
	report("", per(time.Since(start), n), "per message, handled")
}

func main() {
	workloads := map[string]func(){
		"pingpong": pingpong, "pingpong_2": pingpong, "pingpong_pairs": pingpongPairs, "ring": ring,
		"spawn": spawn, "skynet": skynet, "fanin": fanin, "fanin_1": fanin,
		"idle_handler":  func() { idle(count(1000000)) },
		"idle_function": func() { idle(count(200000)) },
		"call": call, "call_2": call, "call_clients": callClients, "cast": cast,
		"timers_cancel": timersCancel, "timers_fire": timersFire, "echo": echo, "preempt_delay": preemptDelay,
	}
	if len(os.Args) > 1 {
		workload = os.Args[1]
	}
	if len(os.Args) > 2 {
		var err error
		amount, err = strconv.Atoi(os.Args[2])
		must(err)
	}
	run, known := workloads[workload]
	if !known {
		fail("unknown workload")
	}
	run()
}
