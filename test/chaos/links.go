package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/leasehold/leasehold/test/lab"
)

func linkFaults() []fault {
	return []fault{
		{"cut-peers", "the leader is cut off from the others; it reaches the API server and the clients", cutting(5, 15, alone)},
		{"cut-all", "the leader is cut off from everything", cutting(5, 15, isolated)},
		{"cut-out", "what the leader sends reaches none of the others; what they send reaches it", cutting(5, 15, deafPeers)},
		{"cut-in", "what the others send does not reach the leader; what it sends reaches them", cutting(5, 15, deafLeader)},
		{"bridge", "the leader and a follower are cut off from each other; the third reaches both", cutting(5, 15, bridged)},
		{"halves", "one replica on one side, two on the other; API server and clients on one of them each", cutting(5, 15, halves)},
		{"cut-internal", "the leader's internal port and the others' cannot be reached from each other; etcd's peer port can", onePort(lab.InternalPort)},
		{"cut-etcd", "etcd's peer port cannot be reached between the leader and the others; the internal port can", onePort(lab.PeerPort)},
		{"cut-api", "the leader alone is cut off from the API server", cutting(15, 30, noAPI)},
		{"lossy-20", "every network drops 20 % of the packets that reach it", losing(0.2)},
		{"lossy-50", "every network drops 50 % of the packets that reach it", losing(0.5)},
	}
}

// cutting cuts links for some seconds.
func cutting(least, most int, situation func(*strike) []lab.Link) func(context.Context, *strike) error {
	return dropping(least, most, func(s *strike) []lab.Drop { return all(0, situation(s)) })
}

func dropping(least, most int, situation func(*strike) []lab.Drop) func(context.Context, *strike) error {
	return func(ctx context.Context, s *strike) error {
		err := s.site.Drop(ctx, situation(s)...)
		if err == nil {
			s.hold(ctx, time.Duration(least)*time.Second, time.Duration(most)*time.Second)
		}
		return errors.Join(err, s.site.Heal(context.WithoutCancel(ctx)))
	}
}

// all drops everything on those links, or everything that is for that port.
func all(port int, links []lab.Link) (drops []lab.Drop) {
	for _, l := range links {
		drops = append(drops, lab.Drop{Link: l, Share: 1, Port: port})
	}
	return drops
}

func place(r *lab.Replica) lab.Place { return lab.Place(r.Ordinal) }

func places(replicas []*lab.Replica) (places []lab.Place) {
	for _, r := range replicas {
		places = append(places, place(r))
	}
	return places
}

// from is one direction, from each of the one to each of the others.
func from(senders, receivers []lab.Place) (links []lab.Link) {
	for _, f := range senders {
		for _, t := range receivers {
			links = append(links, lab.Link{From: f, To: t})
		}
	}
	return links
}

func both(a, b []lab.Place) []lab.Link { return append(from(a, b), from(b, a)...) }

var hub = []lab.Place{lab.Clients, lab.APIPlace}

func (s *strike) self() []lab.Place   { return []lab.Place{place(s.leader)} }
func (s *strike) others() []lab.Place { return places(s.followers) }

func alone(s *strike) []lab.Link      { return both(s.self(), s.others()) }
func isolated(s *strike) []lab.Link   { return both(s.self(), append(s.others(), hub...)) }
func deafPeers(s *strike) []lab.Link  { return from(s.self(), s.others()) }
func deafLeader(s *strike) []lab.Link { return from(s.others(), s.self()) }
func bridged(s *strike) []lab.Link    { return both(s.self(), s.others()[:1]) }
func noAPI(s *strike) []lab.Link      { return both(s.self(), hub[1:]) }

// halves has sides, each of which reaches nothing of the other.
func halves(s *strike) []lab.Link {
	one := s.anyone()
	s.aim(one)
	sides := [2][]lab.Place{{place(one)}, places(s.cluster.Others(one))}
	for _, h := range hub {
		side := s.rng.IntN(2)
		sides[side] = append(sides[side], h)
		if side == 0 {
			s.remark("with %s", map[lab.Place]string{lab.Clients: "the clients", lab.APIPlace: "the API server"}[h])
		}
	}
	inHub := func(l lab.Link) bool { return l.From < 0 && l.To < 0 }
	return slices.DeleteFunc(both(sides[0], sides[1]), inHub) // clients and API server have nothing to tell each other
}

func onePort(port int) func(context.Context, *strike) error {
	return dropping(5, 15, func(s *strike) []lab.Drop { return all(port, alone(s)) })
}

func losing(share float64) func(context.Context, *strike) error {
	return func(ctx context.Context, s *strike) error {
		s.target = "all"
		err := s.site.Lose(ctx, share)
		if err == nil {
			s.hold(ctx, 10*time.Second, 20*time.Second)
		}
		return errors.Join(err, s.site.Heal(context.WithoutCancel(ctx)))
	}
}
