package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/leasehold/leasehold/test/lab"
)

// verify reads back every acknowledged write, linearizably and through all of the targets, and returns those that
// are lost. The error is one of the reading itself.
func (l *load) verify(ctx context.Context, targets []string) (lost []string, err error) {
	l.targets = targets
	numbers := make(chan int)
	var mu sync.Mutex
	var reading sync.WaitGroup
	for range clients {
		reading.Go(func() {
			for number := range numbers {
				found, e := l.read(ctx, number)
				mu.Lock()
				switch {
				case e != nil:
					err = e
				case found != "":
					lost = append(lost, fmt.Sprintf("%s: %s", l.key(number), found))
				}
				mu.Unlock()
			}
		})
	}
	for _, a := range l.tally.snapshot().acks {
		numbers <- a.number
	}
	close(numbers)
	reading.Wait()
	return lost, err
}

// read returns "" if the write is there, else what is there in its place.
func (l *load) read(ctx context.Context, number int) (found string, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	for n := 0; ; n++ {
		a, err := l.readOnce(ctx, l.url(number, n)+"?consistency=linearizable")
		switch {
		case err == nil && a.Status == http.StatusNotFound:
			return "it is not there", nil
		case err == nil && a.Status == http.StatusOK && string(a.Body) != l.value(number):
			return fmt.Sprintf("its value is %q", a.Body), nil
		case err == nil && a.Status == http.StatusOK:
			return "", nil
		case err == nil:
			err = fmt.Errorf("%s", a)
		}
		if !lab.Pause(ctx, triedAgain) {
			return "", fmt.Errorf("an acknowledged write could not be read back within %s: %w", writeLimit, err)
		}
	}
}

func (l *load) readOnce(ctx context.Context, url string) (lab.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return lab.Answer{}, err
	}
	return lab.Send(l.client, req)
}
