package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/leasehold/leasehold/internal/localports"
)

// startNullHere serves in this process until the end of the test.
func startNullHere(t *testing.T, name string) (address string) {
	t.Helper()
	ports, err := localports.Block(1)
	if err != nil {
		t.Fatal(err)
	}
	address = fmt.Sprintf("127.0.0.1:%d", ports.Ports()[0])
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serveNull(ctx, name, address) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		ports.Release()
	})
	if err := await(t.Context(), name, func(ctx context.Context) error { return answers(ctx, address) }); err != nil {
		t.Fatal(err)
	}
	return address
}

func TestClientsAgainstServersThatDoNothing(t *testing.T) {
	t.Parallel()
	for _, name := range systemNames {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := startNullHere(t, name)
			clients, err := connectorTo(name, address, config{etcdShare: 2}).connect(t.Context(), 3, func(int) int { return 0 })
			if err != nil {
				t.Fatal(err)
			}
			defer closeAll(clients)
			for i, c := range clients {
				w := newWorker(c, "a", i)
				for range 10 {
					if err := errors.Join(write(t.Context(), w), readLocal(t.Context(), w)); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

func TestEtcdClientsShareConnections(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ share, clients, want int }{{1, 5, 5}, {2, 9, 5}, {16, 9, 3}, {16, 2, 2}, {16, 64, 4}} {
		c := &etcdCluster{endpoints: []string{"http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"}, share: test.share}
		clients, err := c.connect(t.Context(), test.clients, func(i int) int { return i % nodes })
		if err != nil {
			t.Fatal(err)
		}
		connections := map[any]string{}
		for i, cl := range clients {
			e, ok := cl.(*etcdClient)
			if !ok {
				t.Fatalf("%T", cl)
			}
			if member := e.conn.Endpoints()[0]; member != c.endpoints[i%nodes] {
				t.Errorf("client %d talks to %s", i, member)
			}
			connections[e.conn] = ""
		}
		closeAll(clients)
		if len(connections) != test.want {
			t.Errorf("%d clients have %d connections, want %d", test.clients, len(connections), test.want)
		}
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	w := newWorker(nil, "a", 7)
	first := bytes.Clone(w.valueOf(keys[3]))
	if second := w.valueOf(keys[3]); bytes.Equal(first, second) {
		t.Error("two values are the same")
	}
	if err := checkValue(keys[3], first); err != nil {
		t.Error(err)
	}
	for _, wrong := range [][]byte{nil, first[:valueBytes-1], w.valueOf(keys[4])} {
		if checkValue(keys[3], wrong) == nil {
			t.Errorf("%q is accepted", wrong)
		}
	}
}

func TestWhereClientsGo(t *testing.T) {
	t.Parallel()
	for leader := range nodes {
		followers := map[int]bool{}
		for i := range 10 {
			followers[atFollowers(leader, i)] = true
		}
		if len(followers) != nodes-1 || followers[leader] {
			t.Errorf("the followers of %d are %v", leader, followers)
		}
	}
}

func TestReadCommand(t *testing.T) {
	t.Parallel()
	got, err := readCommand(bufio.NewReader(strings.NewReader("*2\r\n$3\r\nGET\r\n$1\r\na\r\n")))
	if err != nil || strings.Join(got, " ") != "GET a" {
		t.Errorf("%q, %v", got, err)
	}
	for _, wrong := range []string{"", "\n", "GET a\r\n", "*x\r\n", "*-1\r\n", "*1\r\n*1\r\n", "*1\r\n$9999\r\n", "*1\r\n$3\r\nGE"} {
		if got, err := readCommand(bufio.NewReader(strings.NewReader(wrong))); err == nil {
			t.Errorf("%q is %q", wrong, got)
		}
	}
}

func TestRedisVersion(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"Redis server v=7.0.15 sha=0:0 malloc=x": "7.0.15", "what": "unknown"} {
		if got := redisVersion(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
