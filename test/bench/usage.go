package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// ticks is how many of the units of /proc/PID/stat a second has, on every architecture that Go runs on.
const ticks = 100

// usage is what processes have used.
type usage struct {
	cpu    time.Duration // since their start
	memory int64         // resident, in bytes
}

// usageOf adds up what the processes have used.
func usageOf(pids []int) (sum usage, err error) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return usage{}, fmt.Errorf("read what a process uses: %w", err)
		}
		u, err := parseStat(text)
		if err != nil {
			return usage{}, err
		}
		sum.cpu += u.cpu
		sum.memory += u.memory
	}
	return sum, nil
}

// parseStat reads a /proc/PID/stat (proc(5)).
func parseStat(text []byte) (usage, error) {
	const user, system, resident = 11, 12, 21                       // counted from the state, which follows the name
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) // a name may have parentheses
	if len(fields) <= resident {
		return usage{}, fmt.Errorf("/proc/PID/stat has no usage: %q", text)
	}
	var numbers [3]int64
	for i, field := range []int{user, system, resident} {
		n, err := strconv.ParseInt(string(fields[field]), 10, 64)
		if err != nil {
			return usage{}, fmt.Errorf("/proc/PID/stat: %w", err)
		}
		numbers[i] = n
	}
	return usage{
		cpu:    time.Duration(numbers[0]+numbers[1]) * time.Second / ticks,
		memory: numbers[2] * int64(os.Getpagesize()),
	}, nil
}

// ownCPU is what this process has used.
func ownCPU() (time.Duration, error) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0, fmt.Errorf("read what this process uses: %w", err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), nil
}
