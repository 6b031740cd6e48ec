package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
)

// nullCommand has this program be a server that does nothing but answer: as a replica of Leasehold, a member of etcd or a
// Redis would, by the system's name. So what it is asked with is all that costs anything.
const nullCommand = "null-server"

// serveNull serves until ctx is done.
func serveNull(ctx context.Context, name, address string) error {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	switch name {
	case nameLeasehold:
		err = (&fasthttp.Server{Handler: nullHTTP}).Serve(l)
	case nameEtcd:
		s := grpc.NewServer()
		etcdserverpb.RegisterKVServer(s, nullKV{})
		err = s.Serve(l)
	case nameRedis:
		err = serveNullRESP(l)
	default:
		return fmt.Errorf("%w: there is no system %q", errUsage, name)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// nullValue is a value that checkValue accepts.
func nullValue(key string) []byte {
	return append([]byte(key), strings.Repeat("=", max(0, valueBytes-len(key)))...)
}

func nullHTTP(ctx *fasthttp.RequestCtx) {
	if ctx.IsGet() {
		ctx.SetBody(nullValue(strings.TrimPrefix(string(ctx.Path()), "/v1/kv/")))
		return
	}
	ctx.Response.Header.Set("ETag", `"1-1"`)
	ctx.SetBodyString(`{"applied":true,"revision":"1-1"}`)
}

type nullKV struct {
	etcdserverpb.UnimplementedKVServer
}

func (nullKV) Put(context.Context, *etcdserverpb.PutRequest) (*etcdserverpb.PutResponse, error) {
	return &etcdserverpb.PutResponse{Header: &etcdserverpb.ResponseHeader{Revision: 1}}, nil
}

func (nullKV) Range(_ context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	kv := &mvccpb.KeyValue{Key: r.Key, Value: nullValue(string(r.Key))}
	return &etcdserverpb.RangeResponse{Header: &etcdserverpb.ResponseHeader{Revision: 1}, Kvs: []*mvccpb.KeyValue{kv}, Count: 1}, nil
}

func serveNullRESP(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go answerRESP(conn)
	}
}

// answerRESP answers one command after another until the connection ends.
func answerRESP(conn net.Conn) {
	defer conn.Close()
	in, out := bufio.NewReader(conn), bufio.NewWriter(conn)
	for {
		command, err := readCommand(in)
		if err != nil {
			return
		}
		_, _ = out.WriteString(nullRESP(command)) // Flush says so
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
	}
}

func nullRESP(command []string) string {
	switch strings.ToUpper(command[0]) {
	case "SET", "PING":
		return "+OK\r\n"
	case "WAIT":
		return ":1\r\n"
	case "GET":
		return fmt.Sprintf("$%d\r\n%s\r\n", valueBytes, nullValue(command[len(command)-1]))
	case "SCRIPT":
		return "+" + swapping.Hash() + "\r\n"
	}
	return "-ERR unknown command\r\n"
}

var errRESP = errors.New("not a command")

// readCommand reads an array of bulk strings, none of them empty.
func readCommand(in *bufio.Reader) ([]string, error) {
	n, err := readLength(in, '*')
	if err != nil {
		return nil, err
	}
	command := make([]string, n)
	for i := range command {
		size, err := readLength(in, '$')
		if err != nil {
			return nil, err
		}
		text := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(in, text); err != nil {
			return nil, err
		}
		command[i] = string(text[:size])
	}
	return command, nil
}

// readLength reads a line such as *3. What is longer than anything that is sent here is refused.
func readLength(in *bufio.Reader, kind byte) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(line[1:]))
	if line[0] != kind || err != nil || n < 1 || n > 1<<10 {
		return 0, fmt.Errorf("%w: %q", errRESP, line)
	}
	return n, nil
}
