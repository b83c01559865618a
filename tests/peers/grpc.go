// A gRPC server and client, and a plain HTTP client, as they come with Debian; the service is the health service, so that
// nothing has to be generated.
//
//	grpc server ADDRESS:PORT CERT KEY TOKEN
//	grpc check|watch|slow|many HOST:PORT AUTHORIZATION
//	grpc get URL AUTHORIZATION
//
// The server wants `authorization: Bearer TOKEN`, and gives back what it got in the trailer x-got. A client prints the
// answers, then the code and message of the status.
package main

import (
	"context"
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
	"google.golang.org/grpc/health"
	pb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
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

func server(address, cert, key, token string) {
	creds, err := credentials.NewServerTLSFromFile(cert, key)
	must(err)
	h := health.NewServer()
	h.SetServingStatus("one", pb.HealthCheckResponse_SERVING)
	s := grpc.NewServer(grpc.Creds(creds),
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

func main() {
	switch a := os.Args[1:]; a[0] {
	case "server":
		server(a[1], a[2], a[3], a[4])
	case "get":
		get(a[1], a[2])
	default:
		client(a[0], a[1], a[2])
	}
}
