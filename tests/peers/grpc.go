// A gRPC server and client, and a plain HTTP client, as they come with Debian; the service is the health service, so that
// nothing has to be generated.
//
//	grpc server ADDRESS:PORT CERT KEY TOKEN
//	grpc check|watch|slow|many|say HOST:PORT AUTHORIZATION
//	grpc get URL AUTHORIZATION
//	grpc only ADDRESS:PORT CERT KEY
//
// The server wants `authorization: Bearer TOKEN`, and gives back what it got in the trailer x-got. A client prints the
// answers, then the code and message of the status. `say` calls a method that gives it back in the message, in three streamed
// ones; it sends compressed messages, and the server then does, too, and says `packed` of a long one.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health"
	pb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func allowed(ctx context.Context, token string) (metadata.MD, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	got := strings.Join(md.Get("authorization"), ",")
	trailer := metadata.Pairs("x-got", got)
	if got != "Bearer "+token {
		return trailer, status.Error(codes.Unauthenticated, "wrong token")
	}
	return trailer, nil
}

type packed struct{}

func (packed) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (packed) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (packed) HandleConn(context.Context, stats.ConnStats)                       {}
func (packed) HandleRPC(_ context.Context, s stats.RPCStats) {
	if out, ok := s.(*stats.OutPayload); ok && 10*out.WireLength < out.Length {
		fmt.Println("packed")
	}
}

// The service test.Say.
var say = grpc.ServiceDesc{ServiceName: "test.Say", HandlerType: (*interface{})(nil),
	Streams: []grpc.StreamDesc{{StreamName: "Say", ServerStreams: true, Handler: func(_ interface{}, s grpc.ServerStream) error {
		var q pb.HealthCheckRequest
		if err := s.RecvMsg(&q); err != nil {
			return err
		}
		md, _ := metadata.FromIncomingContext(s.Context())
		for _, size := range []int{0, 100, 100000} {
			a := pb.HealthCheckRequest{Service: strings.Repeat("-", size) + strings.Join(md.Get("authorization"), ",")}
			if err := s.SendMsg(&a); err != nil {
				return err
			}
		}
		return nil
	}}}}

func server(address, cert, key, token string) {
	creds, err := credentials.NewServerTLSFromFile(cert, key)
	must(err)
	h := health.NewServer()
	h.SetServingStatus("one", pb.HealthCheckResponse_SERVING)
	s := grpc.NewServer(grpc.Creds(creds), grpc.StatsHandler(packed{}),
		grpc.UnaryInterceptor(func(ctx context.Context, q interface{}, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (interface{}, error) {
			trailer, err := allowed(ctx, token)
			grpc.SetTrailer(ctx, trailer)
			if err != nil {
				return nil, err
			}
			if q.(*pb.HealthCheckRequest).Service == "slow" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return next(ctx, q)
		}),
		grpc.StreamInterceptor(func(srv interface{}, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			trailer, err := allowed(ss.Context(), token)
			ss.SetTrailer(trailer)
			if err != nil {
				return err
			}
			go func() { // two changes, then the end
				for _, to := range []pb.HealthCheckResponse_ServingStatus{pb.HealthCheckResponse_NOT_SERVING, pb.HealthCheckResponse_SERVING} {
					time.Sleep(50 * time.Millisecond)
					h.SetServingStatus("one", to)
				}
			}()
			return next(srv, ss)
		}))
	pb.RegisterHealthServer(s, h)
	s.RegisterService(&say, nil)
	l, err := net.Listen("tcp", address)
	must(err)
	fmt.Println("ready")
	must(s.Serve(l))
}

func said(trailer metadata.MD, err error) {
	s := status.Convert(err)
	fmt.Println(s.Code(), s.Message(), strings.Join(trailer.Get("x-got"), ","))
}

func client(what, address, authorization string) {
	conn, err := grpc.Dial(address, grpc.WithTransportCredentials(credentials.NewTLS(nil)))
	must(err)
	defer conn.Close()
	c := pb.NewHealthClient(conn)
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "authorization", authorization), 20*time.Second)
	defer cancel()
	var trailer metadata.MD
	switch what {
	case "check":
		a, err := c.Check(ctx, &pb.HealthCheckRequest{Service: "one"}, grpc.Trailer(&trailer))
		if err == nil {
			fmt.Println(a.Status)
		}
		said(trailer, err)
	case "say":
		s, err := conn.NewStream(ctx, &say.Streams[0], "/test.Say/Say", grpc.UseCompressor(gzip.Name))
		must(err)
		must(s.SendMsg(&pb.HealthCheckRequest{Service: strings.Repeat("q", 1000)}))
		must(s.CloseSend())
		for err == nil {
			var a pb.HealthCheckRequest
			if err = s.RecvMsg(&a); err == nil {
				fmt.Println(len(a.Service), strings.Trim(a.Service, "-"))
			}
		}
		fmt.Println(err)
	case "slow":
		short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		_, err := c.Check(short, &pb.HealthCheckRequest{Service: "slow"}, grpc.Trailer(&trailer))
		said(trailer, err)
	case "watch":
		w, err := c.Watch(ctx, &pb.HealthCheckRequest{Service: "one"})
		for i := 0; err == nil && i < 3; i++ {
			var a *pb.HealthCheckResponse
			if a, err = w.Recv(); err == nil {
				fmt.Println(a.Status)
			}
		}
		said(nil, err)
	case "many":
		var wg sync.WaitGroup
		errs := make([]error, 200)
		for i := range errs {
			wg.Add(1)
			go func(i int) {
				defer wg.Done()
				_, errs[i] = c.Check(ctx, &pb.HealthCheckRequest{Service: "one"})
			}(i)
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				said(nil, err)
			}
		}
		fmt.Println(len(errs))
	}
}

func get(url, authorization string) {
	q, err := http.NewRequest("GET", url, nil)
	must(err)
	q.Header.Set("Authorization", authorization)
	a, err := http.DefaultClient.Do(q)
	must(err)
	body, err := io.ReadAll(a.Body)
	must(err)
	fmt.Printf("%s %d %s", a.Proto, a.StatusCode, body)
}

// An HTTP/2 server that refuses to speak anything else, in the handshake. POST /sum: an early hint, the method and how long the
// body was, and that in a trailer again. POST /early: an answer after the first bytes of the body, and no more is read.
func only(address, cert, key string) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	must(err)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) { // Go puts up with "http/1.1" otherwise
		for _, name := range hello.SupportedProtos {
			if name == "h2" {
				return nil, nil
			}
		}
		none := config.Clone()
		none.NextProtos = []string{"none"}
		return none, nil
	}
	l, err := tls.Listen("tcp", address, config)
	must(err)
	s := http.Server{TLSConfig: config, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/early" {
			_, _ = r.Body.Read(make([]byte, 1))
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			_, _ = w.Write([]byte("too much"))
			return
		}
		n, err := io.Copy(io.Discard, r.Body)
		must(err)
		w.Header().Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprint(w, r.Method, " ", n)
		w.Header().Set("X-Sum", fmt.Sprint(n))
	})}
	fmt.Println("ready")
	must(s.Serve(l))
}

func main() {
	switch a := os.Args[1:]; a[0] {
	case "server":
		server(a[1], a[2], a[3], a[4])
	case "only":
		only(a[1], a[2], a[3])
	case "get":
		get(a[1], a[2])
	default:
		client(a[0], a[1], a[2])
	}
}
