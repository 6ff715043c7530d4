package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

type healthyCmd struct{}

// healthyTime bounds the question.
const healthyTime = 5 * time.Second

// Run asks the running process of this configuration whether it is ready, for
// health checks of containers, which have no shell and no curl. It fails when it
// is not.
func (*healthyCmd) Run(ctx context.Context, g *Globals) error {
	cfg, _, err := g.once()
	if err != nil {
		return err
	}
	address := cfg.Health.Listen
	if address == "" {
		address = cfg.API.Listen
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return usageError{fmt.Errorf("health.listen: %w", err)}
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost" // it listens on every address
	}
	ctx, cancel := context.WithTimeout(ctx, healthyTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{Proxy: nil}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%w; is the process running, and is health.listen set?", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", strings.TrimSpace(string(text)))
	}
	if g.JSON {
		return g.print(map[string]any{"ready": true})
	}
	_, err = fmt.Fprintln(g.terminal.out, "ready")
	return err
}
