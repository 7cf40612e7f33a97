package machine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sluice.dev/sluice/hack/cluster/internal/process"
)

// proxyTables are kube-proxy's, in its nftables mode.
var proxyTables = []string{"ip kube-proxy", "ip6 kube-proxy"}

// Network is the part of the machine's network that is ours.
type Network struct {
	// NodeBridge carries NodeAddress (with its prefix length): the address of
	// the node, the registry and DNS.
	NodeBridge, NodeAddress string
	// PodBridge is made by the CNI plugin, not here; it is removed here.
	PodBridge string
	PodCIDR   string
	// Table is the nftables table that hides pods behind the machine's address
	// when they speak to the outside. One table of our own is removed without
	// a trace; the plugin's own rules, one a pod, are not.
	Table string
}

// Up makes the bridge and the table, unless they are there.
func (n Network) Up(ctx context.Context, log io.Writer) error {
	if _, err := os.Stat(filepath.Join("/sys/class/net", n.NodeBridge)); err != nil {
		if err := process.Run(ctx, log, "ip", "link", "add", n.NodeBridge, "type", "bridge"); err != nil {
			return fmt.Errorf("making bridge %s: %w", n.NodeBridge, err)
		}
	}
	if err := process.Run(ctx, log, "ip", "address", "replace", n.NodeAddress, "dev", n.NodeBridge); err != nil {
		return fmt.Errorf("giving %s its address: %w", n.NodeBridge, err)
	}
	if err := process.Run(ctx, log, "ip", "link", "set", n.NodeBridge, "up"); err != nil {
		return fmt.Errorf("raising %s: %w", n.NodeBridge, err)
	}
	return n.translate(ctx)
}

func (n Network) translate(ctx context.Context) error {
	rules := fmt.Sprintf(`table ip %[1]s
delete table ip %[1]s
table ip %[1]s {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr %[2]s ip daddr != { %[2]s, 224.0.0.0/4 } oifname != "%[3]s" masquerade
	}
}
`, n.Table, n.PodCIDR, n.PodBridge)
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("setting address translation: %w: %s", err, out)
	}
	return nil
}

// Down removes the bridges, what hangs on them, and the tables.
func (n Network) Down(ctx context.Context, log io.Writer) error {
	if _, err := exec.LookPath("ip"); err != nil {
		return nil //nolint:nilerr // never installed, so never used
	}
	for _, bridge := range []string{n.PodBridge, n.NodeBridge} {
		if _, err := os.Stat(filepath.Join("/sys/class/net", bridge)); err != nil {
			continue
		}
		for _, link := range append(attached(ctx, bridge), bridge) {
			if err := process.Run(ctx, log, "ip", "link", "delete", link); err != nil && exists(link) {
				return fmt.Errorf("removing interface %s: %w", link, err)
			}
		}
	}
	for _, table := range existingTables(ctx, append([]string{"ip " + n.Table}, proxyTables...)) {
		family, name, _ := strings.Cut(table, " ")
		if err := process.Run(ctx, log, "nft", "delete", "table", family, name); err != nil {
			return fmt.Errorf("removing nftables table %s: %w", table, err)
		}
	}
	return nil
}

func exists(link string) bool {
	_, err := os.Stat(filepath.Join("/sys/class/net", link))
	return err == nil
}

func attached(ctx context.Context, bridge string) []string {
	out, err := exec.CommandContext(ctx, "ip", "-json", "link", "show", "master", bridge).Output()
	if err != nil {
		return nil
	}
	var links []struct {
		Name string `json:"ifname"`
	}
	if json.Unmarshal(out, &links) != nil {
		return nil
	}
	names := make([]string, len(links))
	for i, l := range links {
		names[i] = l.Name
	}
	return names
}

// existingTables returns those of the wanted "family name" tables that are there.
func existingTables(ctx context.Context, wanted []string) []string {
	out, err := exec.CommandContext(ctx, "nft", "list", "tables").Output()
	if err != nil {
		return nil
	}
	var found []string
	for _, line := range strings.Split(string(out), "\n") {
		for _, table := range wanted {
			if strings.TrimSpace(line) == "table "+table {
				found = append(found, table)
			}
		}
	}
	return found
}
