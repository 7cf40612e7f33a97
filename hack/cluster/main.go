package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice.dev/sluice/hack/cluster/internal/existing"
	"sluice.dev/sluice/hack/cluster/internal/kubeapi"
	"sluice.dev/sluice/hack/cluster/internal/layout"
	"sluice.dev/sluice/hack/cluster/internal/loadbalancer"
	"sluice.dev/sluice/hack/cluster/internal/machine"
	"sluice.dev/sluice/hack/cluster/internal/plan"
	"sluice.dev/sluice/hack/cluster/internal/registry"
	"sluice.dev/sluice/hack/cluster/internal/stack"
)

// command is one subcommand; daemons of the stack are subcommands too.
type command struct {
	help string
	run  func(ctx context.Context, l layout.Layout, args []string) error
}

var commands = map[string]command{
	"up":           {"bring the stack up, or what is missing of it; up NAME...: a store by name", up},
	"down":         {"take the stack down and put the machine back", down},
	"status":       {"print every component and the pods that aren't ready", status},
	"env":          {"print shell exports for working with the stack", env},
	"kubeconfig":   {"print the path of the kubeconfig", kubeconfig},
	"check":        {"check the current kube context's cluster instead", check},
	"registry":     {"(daemon) serve images from disk", serveRegistry},
	"loadbalancer": {"(daemon) give LoadBalancer services addresses", runLoadBalancer},
}

func main() {
	checkout := flag.String("checkout", ".", "root of the repository")
	flag.Usage = usage
	flag.Parse()
	c, known := commands[flag.Arg(0)]
	if !known {
		usage()
		os.Exit(2)
	}
	os.Exit(execute(c, *checkout))
}

// execute runs a command and returns the exit code.
func execute(c command, checkout string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	root, err := filepath.Abs(checkout)
	if err == nil {
		err = c.run(ctx, layout.FromEnvironment(root), flag.Args()[1:])
	}
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "interrupted; run the same command again to go on")
		return 130
	default:
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: cluster COMMAND")
	for _, name := range []string{"up", "down", "status", "env", "kubeconfig", "check"} {
		fmt.Fprintf(os.Stderr, "  %-12s %s\n", name, commands[name].help)
	}
}

// open checks that the machine is of the right kind and takes the lock that
// keeps two changes of the stack apart. The lock ends with this process.
func open(l layout.Layout) (*stack.Stack, error) {
	envoy := os.Getenv("ENVOY")
	if err := machine.Supported(envoy); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(l.Binaries(), 0o755); err != nil {
		return nil, err
	}
	lock, err := unix.Open(l.Lock(), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the lock %s: %w", l.Lock(), err)
	}
	if err := unix.Flock(lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("another up or down of this machine's stack is at work (lock %s)", l.Lock())
	}
	return stack.New(l, envoy)
}

// up brings up the stack, or the stores that are named.
func up(ctx context.Context, l layout.Layout, stores []string) error {
	s, err := open(l)
	if err != nil {
		return err
	}
	begun := time.Now()
	steps := s.Steps()
	if len(stores) > 0 {
		if steps, err = s.StoreSteps(stores); err != nil {
			return err
		}
	}
	if err := s.Preflight(ctx, stores...); err != nil {
		return err
	}
	p, err := plan.New(steps)
	if err != nil {
		return err
	}
	info, err := os.Stdout.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	runner := plan.Runner{Display: plan.NewDisplay(os.Stdout, terminal, time.Now), Logs: l.Logs(), HeavySlots: 2}
	if err := runner.Run(ctx, p); err != nil {
		return err
	}
	took := time.Since(begun).Round(100 * time.Millisecond)
	if len(stores) == 0 {
		fmt.Printf("the stack is up (%s); KUBECONFIG=%s\n", took, l.Kubeconfig("admin"))
		return nil
	}
	addresses, err := s.Addresses(stores)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(addresses)) {
		fmt.Printf("%s is up at %s\n", name, addresses[name])
	}
	return nil
}

func down(ctx context.Context, l layout.Layout, _ []string) error {
	s, err := open(l)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := s.Down(ctx, os.Stdout); err != nil {
		return err
	}
	fmt.Printf("the stack is down (%s)\n", time.Since(begun).Round(100*time.Millisecond))
	return nil
}

func status(ctx context.Context, l layout.Layout, _ []string) error {
	s, err := stack.New(l, os.Getenv("ENVOY"))
	if err != nil {
		return err
	}
	if !s.Status(ctx, os.Stdout) {
		return errors.New("not everything is up")
	}
	return nil
}

func env(_ context.Context, l layout.Layout, _ []string) error {
	s, err := stack.New(l, os.Getenv("ENVOY"))
	if err != nil {
		return err
	}
	fmt.Print(s.Env())
	return nil
}

func kubeconfig(_ context.Context, l layout.Layout, _ []string) error {
	fmt.Println(l.Kubeconfig("admin"))
	return nil
}

func check(ctx context.Context, _ layout.Layout, _ []string) error {
	findings, err := existing.Check(ctx, existing.Kubectl)
	if err != nil {
		return err
	}
	missing := 0
	for _, f := range findings {
		fmt.Println(f)
		if f.Required && !f.Satisfied {
			missing++
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d required things are missing in this cluster", missing)
	}
	return nil
}

func serveRegistry(ctx context.Context, _ layout.Layout, args []string) error {
	flags := flag.NewFlagSet("registry", flag.ContinueOnError)
	address := flags.String("address", "", "host:port to listen on")
	storage := flags.String("storage", "", "folder that keeps the images")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return registry.Serve(ctx, *address, *storage)
}

func runLoadBalancer(ctx context.Context, _ layout.Layout, args []string) error {
	flags := flag.NewFlagSet("loadbalancer", flag.ContinueOnError)
	server := flags.String("server", "", "URL of the API server")
	ca := flags.String("ca", "", "certificate of its authority")
	cert := flags.String("cert", "", "client certificate")
	key := flags.String("key", "", "client key")
	if err := flags.Parse(args); err != nil {
		return err
	}
	client, err := kubeapi.New(*server, *ca, *cert, *key)
	if err != nil {
		return err
	}
	return loadbalancer.NewAllocator(client).Run(ctx)
}
