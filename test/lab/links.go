package lab

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// The ports of a replica on a network of its own.
const (
	PublicPort   = 8080
	InternalPort = 7070
	PeerPort     = 2380
)

// Place is an end of a link: the ordinal of a replica, or one of the two in the hub.
type Place int

// The places in the hub.
const (
	Clients Place = -1 - iota
	APIPlace
)

// Address is the IP address of the place.
func (p Place) Address() string {
	switch p {
	case Clients:
		return hubAddress
	case APIPlace:
		return apiAddress
	}
	return replicaAddress(int(p))
}

// Link is one direction between two places.
type Link struct{ From, To Place }

// Drop is what becomes of packets on a link.
type Drop struct {
	Link
	// Share of the packets that is lost, at random; 1 is all of them.
	Share float64
	// Port is that of the receiver, of TCP, to which the loss is confined; 0 is none.
	Port int
}

// rule is what iptables is told in the receiver's network.
func (d Drop) rule() []string {
	rule := []string{"-s", d.From.Address(), "-d", d.To.Address()}
	if d.Port != 0 {
		rule = append(rule, "-p", "tcp", "--dport", strconv.Itoa(d.Port))
	}
	return append(append(rule, loss(d.Share)...), "-j", "DROP")
}

// loss matches that share of the packets.
func loss(share float64) []string {
	if share >= 1 {
		return nil
	}
	return []string{"-m", "statistic", "--mode", "random", "--probability", fmt.Sprint(share)}
}

// Drop has packets dropped on each of the links, from now on. It is called in the hub, as all of the following.
func (s Site) Drop(ctx context.Context, drops ...Drop) error {
	for _, d := range drops {
		if err := s.filter(ctx, d.To, append([]string{"-A", "INPUT"}, d.rule()...)); err != nil {
			return err
		}
	}
	return nil
}

// Lose has each end of each link drop that share of the packets that reach it.
func (s Site) Lose(ctx context.Context, share float64) error {
	rule := append([]string{"-A", "INPUT", "!", "-i", "lo"}, loss(share)...)
	return s.filterAll(ctx, append(rule, "-j", "DROP"))
}

// Heal ends what Drop and Lose have begun.
func (s Site) Heal(ctx context.Context) error { return s.filterAll(ctx, []string{"-F", "INPUT"}) }

func (s Site) filterAll(ctx context.Context, rule []string) error {
	errs := []error{s.filter(ctx, Clients, rule)}
	for i := range ReplicaCount {
		errs = append(errs, s.filter(ctx, Place(i), rule))
	}
	return errors.Join(errs...)
}

func (s Site) filter(ctx context.Context, where Place, rule []string) error {
	command := append([]string{"iptables", "-w", "10"}, rule...) // the lock is shared with other networks
	if where >= 0 {
		command = s.Command(int(where), command...)
	}
	return Command(ctx, command[0], command[1:]...)
}

// SetLink connects a replica's cable ("up") or pulls it out ("down").
func (s Site) SetLink(ctx context.Context, ordinal int, state string) error {
	return Command(ctx, "ip", "link", "set", linkName(ordinal), state)
}
