// Package tortest runs a private Tor network for tests: directory authorities,
// exits, an onion service and a client with a SOCKS5 port, all of Debian's tor, on
// a loopback address of their own. Nothing of it leaves the machine. It owns the
// processes that it starts, and stops exactly those.
package tortest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/proxy"
	"golang.org/x/sync/errgroup"
)

// The nodes of a network. Three authorities are the least that can agree on a
// consensus, and circuits take three relays besides the one they begin at.
const (
	authorities = 3
	exits       = 2
)

// Ports of node number n are from firstPort+10n on.
const (
	firstPort = 20_000
	orPort    = 0
	dirPort   = 1
	socksPort = 2
)

// patience is when a network that does not come up fails the test. It comes up in
// 20 to 45 seconds, most of which are votes about the consensus.
const patience = 3 * time.Minute

// Network is a running Tor network.
type Network struct {
	dir    string
	addr   netip.Addr
	nodes  []*node
	onions []string
}

// node is one tor process.
type node struct {
	name   string
	number int
	torrc  string
	cmd    *exec.Cmd
	gone   chan struct{}
}

// Start starts a network with an onion service for each of targets, waits until
// all of them can be reached, and stops it at the test's end. Without tor the
// test is skipped; with CI in the environment it fails.
func Start(t testing.TB, targets ...netip.AddrPort) *Network {
	t.Helper()
	for _, program := range []string{"tor", "tor-gencert"} {
		if _, err := find(program); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatal("tor is not installed: run make deps")
		}
		t.Skip("tor is not installed: run make deps")
	}
	n := &Network{dir: t.TempDir()}
	t.Cleanup(func() {
		n.stop()
		if t.Failed() {
			n.tell(t)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := n.start(ctx, targets); err != nil {
		t.Fatalf("start a Tor network: %v", err)
	}
	return n
}

// SOCKS is the address of the client's proxy.
func (n *Network) SOCKS() string {
	client := n.nodes[len(n.nodes)-1]
	return n.at(client, socksPort)
}

// Onions are the names of the onion services, in the order of their targets. Each
// takes connections at port 80.
func (n *Network) Onions() []string { return n.onions }

func (n *Network) at(one *node, port int) string {
	return netip.AddrPortFrom(n.addr, uint16(firstPort+10*one.number+port)).String() //nolint:gosec // of few nodes
}

// find looks for a program also where the paths of ordinary users do not lead.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/" + program)
}

func (n *Network) start(ctx context.Context, targets []netip.AddrPort) error {
	if err := n.settle(ctx); err != nil {
		return err
	}
	known, err := n.authorities(ctx)
	if err != nil {
		return err
	}
	for i := range exits {
		n.node(fmt.Sprintf("exit%d", i), known, "ORPort %[1]s\nSocksPort 0\n", exitPolicy)
	}
	host := n.node("host", known, "SocksPort 0\n")
	for i, target := range targets {
		host.torrc += fmt.Sprintf("HiddenServiceDir %s\nHiddenServicePort 80 %s\n", n.service(i), target)
	}
	client := n.node("client", known, "SocksPort %[3]s\nClientRejectInternalAddresses 0\nClientDNSRejectInternalAddresses 0\n")
	for _, one := range n.nodes {
		if err := n.launch(one); err != nil {
			return err
		}
	}
	if err := n.await(ctx, func() error { return bootstrapped(n.log(client)) }); err != nil {
		return err
	}
	for i := range targets {
		name, err := os.ReadFile(filepath.Join(n.service(i), "hostname"))
		if err != nil {
			return err
		}
		n.onions = append(n.onions, strings.TrimSpace(string(name)))
		if err := n.await(ctx, func() error { return n.reach(ctx, n.onions[i]) }); err != nil {
			return err
		}
	}
	return nil
}

// settle looks for a loopback address at which nobody is: the ports of a network
// follow from it, so that none has to be found free.
func (n *Network) settle(ctx context.Context) error {
	var listen net.ListenConfig
	for last := range 250 {
		addr := netip.AddrFrom4([4]byte{127, 97, 0, byte(last + 1)})
		ln, err := listen.Listen(ctx, "tcp4", netip.AddrPortFrom(addr, firstPort+dirPort).String())
		if errors.Is(err, os.ErrPermission) {
			return err
		}
		if err == nil {
			n.addr = addr
			return ln.Close()
		}
	}
	return errors.New("no loopback address is free")
}

const exitPolicy = "ExitRelay 1\nExitPolicyRejectPrivate 0\nExitPolicy accept *:*\n"

// voting is what authorities agree by: every ten seconds, the least that tor
// takes with these delays, and everybody may be everything at once.
const voting = `AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
ContactInfo nobody@test.invalid
TestingV3AuthInitialVotingInterval 10
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
V3AuthVotingInterval 10
V3AuthVoteDelay 2
V3AuthDistDelay 2
TestingDirAuthVoteExit *
TestingDirAuthVoteGuard *
TestingDirAuthVoteHSDir *
TestingMinExitFlagThreshold 0
MinUptimeHidServDirectoryV2 0
`

// common is what every node has. Vanguards keep an onion service of so small a
// network from ever being reached.
const common = `TestingTorNetwork 1
AssumeReachable 1
PathsNeededToBuildCircuits 0.67
VanguardsLiteEnabled 0
ShutdownWaitLength 0
DisableDebuggerAttachment 0
`

// node adds a node whose lines, as a format, get its OR, directory and SOCKS
// addresses.
func (n *Network) node(name, known string, lines ...string) *node {
	one := &node{name: name, number: len(n.nodes)}
	own := strings.NewReplacer("%[1]s", n.at(one, orPort), "%[2]s", n.at(one, dirPort), "%[3]s", n.at(one, socksPort))
	one.torrc = common + known + own.Replace(strings.Join(lines, "")) + fmt.Sprintf(
		"Nickname %s\nAddress %s\nDataDirectory %s\nLog notice file %s\n__OwningControllerProcess %d\n",
		name, n.addr, filepath.Join(n.dir, name), n.log(one), os.Getpid())
	n.nodes = append(n.nodes, one)
	return one
}

func (n *Network) log(one *node) string    { return filepath.Join(n.dir, one.name+".log") }
func (n *Network) service(i int) string    { return filepath.Join(n.dir, fmt.Sprint("service", i)) }
func (n *Network) config(one *node) string { return filepath.Join(n.dir, one.name+".torrc") }

// authorities makes the authorities' keys and returns the lines by which every
// node knows them.
func (n *Network) authorities(ctx context.Context) (known string, err error) {
	for i := range authorities {
		n.node(fmt.Sprintf("authority%d", i), "", "ORPort %[1]s\nDirPort %[2]s\nSocksPort 0\n", voting)
	}
	lines := make([]string, authorities)
	making, ctx := errgroup.WithContext(ctx)
	for i, one := range n.nodes {
		making.Go(func() (err error) {
			lines[i], err = n.authority(ctx, one)
			return err
		})
	}
	if err := making.Wait(); err != nil {
		return "", err
	}
	known = strings.Join(lines, "")
	for _, one := range n.nodes {
		one.torrc += known
	}
	return known, nil
}

// authority makes the keys of one authority.
func (n *Network) authority(ctx context.Context, one *node) (string, error) {
	keys := filepath.Join(n.dir, one.name, "keys")
	if err := os.MkdirAll(keys, 0o700); err != nil {
		return "", err
	}
	if _, err := output(ctx, keys, "tor-gencert", "--create-identity-key", "--passphrase-fd", "0", "-m", "12", "-a", n.at(one, dirPort)); err != nil {
		return "", err
	}
	if err := os.WriteFile(n.config(one), []byte(one.torrc), 0o600); err != nil {
		return "", err
	}
	// It needs some authority to accept the configuration of one.
	said, err := output(ctx, n.dir, "tor", "-f", n.config(one), "--quiet", "--list-fingerprint", "--DirAuthority", "x 127.0.0.1:1 "+strings.Repeat("0", 40))
	if err != nil {
		return "", err
	}
	_, fingerprint, _ := strings.Cut(strings.TrimSpace(said), " ")
	certificate, err := os.ReadFile(filepath.Join(keys, "authority_certificate"))
	if err != nil {
		return "", err
	}
	_, rest, found := strings.Cut(string(certificate), "\nfingerprint ")
	identity, _, _ := strings.Cut(rest, "\n")
	if !found || fingerprint == "" {
		return "", fmt.Errorf("no fingerprint of %s: %q", one.name, said)
	}
	return fmt.Sprintf("DirAuthority %s orport=%d no-v2 v3ident=%s %s %s\n",
		one.name, firstPort+10*one.number+orPort, identity, n.at(one, dirPort), strings.ReplaceAll(fingerprint, " ", "")), nil
}

// output runs a program to its end, with a passphrase to read.
func output(ctx context.Context, dir, program string, args ...string) (string, error) {
	path, err := find(program)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader("passphrase\n")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", program, err, stderr.String())
	}
	return string(out), nil
}

func (n *Network) launch(one *node) error {
	if err := os.WriteFile(n.config(one), []byte(one.torrc), 0o600); err != nil {
		return err
	}
	path, err := find("tor")
	if err != nil {
		return err
	}
	one.cmd = exec.Command(path, "-f", n.config(one)) //nolint:noctx // it is stopped by stop
	one.cmd.Dir = n.dir
	if err := one.cmd.Start(); err != nil {
		return err
	}
	one.gone = make(chan struct{})
	go func() {
		defer close(one.gone)
		_ = one.cmd.Wait() // how it ended is in its log
	}()
	return nil
}

// stop kills the processes of the network: they keep nothing that could be lost.
func (n *Network) stop() {
	for _, one := range n.nodes {
		if one.gone != nil {
			_ = one.cmd.Process.Kill()
			<-one.gone
		}
	}
}

// lookTime is how often it is looked whether what is waited for is there.
const lookTime = 100 * time.Millisecond

// await waits until a condition holds, and fails when a node has ended.
func (n *Network) await(ctx context.Context, holds func() error) error {
	look := time.NewTicker(lookTime)
	defer look.Stop()
	for {
		err := holds()
		if err == nil {
			return nil
		}
		for _, one := range n.nodes {
			select {
			case <-one.gone:
				return fmt.Errorf("%s has ended: %w", one.name, err)
			default:
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// bootstrapped tells whether a node has said that it has built a circuit.
func bootstrapped(log string) error {
	text, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	if !bytes.Contains(text, []byte("Bootstrapped 100%")) {
		lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
		return fmt.Errorf("not bootstrapped: %s", lines[len(lines)-1])
	}
	return nil
}

// reach connects to an onion service.
func (n *Network) reach(ctx context.Context, onion string) error {
	through, err := proxy.SOCKS5("tcp4", n.SOCKS(), nil, proxy.Direct)
	if err != nil {
		return err
	}
	dialer, ok := through.(proxy.ContextDialer)
	if !ok {
		return errors.New("the proxy knows no contexts")
	}
	c, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(onion, "80"))
	if err != nil {
		return err
	}
	return c.Close()
}

// tell shows the last lines of all logs.
func (n *Network) tell(t testing.TB) {
	t.Helper()
	const most = 15
	for _, one := range n.nodes {
		text, err := os.ReadFile(n.log(one))
		if err != nil {
			continue
		}
		lines := slices.Collect(strings.Lines(string(text)))
		t.Logf("%s:\n%s", one.name, strings.Join(lines[max(0, len(lines)-most):], ""))
	}
}
