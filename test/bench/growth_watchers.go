package main

import (
	"context"
	"strconv"
	"time"

	"github.com/leasehold/leasehold/test/lab"
)

// watchersPoint is what changes came to that n watchers see.
type watchersPoint struct {
	point
	lost int64 // events
}

// events is how many events a second the watchers see.
func (p watchersPoint) events() float64 { return p.write.perSecond * float64(p.n) }

func (g *grower) measureWatchers(ctx context.Context) error {
	return g.with(ctx, "watchers", lab.ReplicaCount, func(c leasehold) error {
		for _, n := range g.cfg.watchers {
			g.screen.point(several(n, "watcher"))
			p, err := g.watched(ctx, c, n)
			if err != nil {
				return err
			}
			g.watchers = append(g.watchers, p)
		}
		return nil
	})
}

// watched has clients write while n watchers of a follower look on.
func (g *grower) watched(ctx context.Context, c leasehold, n int) (p watchersPoint, err error) {
	follower, err := c.follower(ctx)
	if err != nil {
		return p, err
	}
	group := strconv.Itoa(watchedClients)
	var own []string
	for i := range watchedClients {
		own = append(own, ownKey(group, i))
	}
	begin := time.Now()
	a, err := gather(ctx, follower.URL, keyPrefix+"own-", n, own)
	if err != nil {
		return p, err
	}
	defer a.close()
	g.screen.say("there in %.1f s", time.Since(begin).Seconds())
	p.n = n
	p.write, err = g.repeat(ctx, c, operation{name: opWrite, at: atLeader, do: a.change}, watchedClients)
	p.lost = a.lost()
	g.screen.writes(p.write)
	g.screen.say("%s events a second, %d lost", count(p.events()), p.lost)
	return p, err
}
