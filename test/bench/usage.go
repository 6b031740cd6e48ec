package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// memoryOf is what a process has resident, and how much of that is its own: the rest is files that are mapped into memory.
func memoryOf(pid int) (resident, own int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read what a process uses: %w", err)
	}
	return parseStatus(text)
}

// parseStatus reads a /proc/PID/status (proc(5)).
func parseStatus(text []byte) (resident, own int64, err error) {
	for _, field := range []struct {
		name string
		into *int64
	}{{"VmRSS", &resident}, {"RssAnon", &own}} {
		_, after, _ := bytes.Cut(text, []byte("\n"+field.name+":"))
		var kib int64
		if _, err := fmt.Sscanf(string(after), "%d kB", &kib); err != nil {
			return 0, 0, fmt.Errorf("/proc/PID/status has no %s: %w", field.name, err)
		}
		*field.into = kib << 10
	}
	return resident, own, nil
}

// occupied is how much of the disk the files in a folder occupy.
func occupied(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var s syscall.Stat_t
		if err == nil {
			err = syscall.Lstat(path, &s)
		}
		sum += s.Blocks * 512 // of which stat(2) counts, whatever the file system has
		return err
	})
	return sum, err
}

// ownCPU is what this process has used.
func ownCPU() (time.Duration, error) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0, fmt.Errorf("read what this process uses: %w", err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), nil
}
