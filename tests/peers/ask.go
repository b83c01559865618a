// Asks for a URL with Go's own client and the key that stands in the environment: ask-go URL VARIABLE. Prints protocol, status, body.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	q, err := http.NewRequest("GET", os.Args[1], nil)
	if err == nil {
		q.Header.Set("Authorization", "Bearer "+os.Getenv(os.Args[2]))
		var a *http.Response
		if a, err = http.DefaultClient.Do(q); err == nil {
			body, _ := io.ReadAll(a.Body)
			fmt.Println(a.Proto, a.StatusCode, string(body))
			return
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
