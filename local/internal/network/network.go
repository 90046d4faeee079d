// Package network connects the machines of a local cluster: one bridge in the
// control plane's namespace, one link from it to each node and one to the host.
package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"stateful-postgres/local/internal/topology"
)

const hostPort = "host"

// RoutesInUse returns the destinations of the host's routes, without the
// default route and without those of the cluster's own link.
func RoutesInUse() ([]netip.Prefix, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list the host's routes: %w", err)
	}
	own := -1
	if link, err := netlink.LinkByName(topology.HostLink); err == nil {
		own = link.Attrs().Index
	}
	var inUse []netip.Prefix
	for _, route := range routes {
		if route.Dst == nil || route.LinkIndex == own {
			continue
		}
		if address, ok := netip.AddrFromSlice(route.Dst.IP.To4()); ok {
			if ones, _ := route.Dst.Mask.Size(); ones > 0 {
				inUse = append(inUse, netip.PrefixFrom(address, ones))
			}
		}
	}
	return inUse, nil
}

// RemoveHostLink takes away the host's link, if an earlier cluster left it.
func RemoveHostLink() error {
	link, err := netlink.LinkByName(topology.HostLink)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for %s: %w", topology.HostLink, err)
	}
	if err := netlink.LinkDel(link); err != nil {
		return fmt.Errorf("remove %s: %w", topology.HostLink, err)
	}
	return nil
}

// inside runs do with a netlink handle to the network namespace of a process.
func inside(pid int, do func(*netlink.Handle) error) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("network namespace of process %d: %w", pid, err)
	}
	defer ns.Close()
	handle, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("enter the network namespace of process %d: %w", pid, err)
	}
	defer handle.Close()
	return do(handle)
}

// WireControlPlane makes the bridge in the control plane's machine, whose
// process 1 has the given PID, and the host's link to it.
func WireControlPlane(t topology.Topology, pid int) error {
	if err := RemoveHostLink(); err != nil {
		return err
	}
	host := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: topology.HostLink, HardwareAddr: hardwareAddress(t.Host())},
		PeerName:      hostPort,
		PeerNamespace: netlink.NsPid(pid),
	}
	if err := netlink.LinkAdd(host); err != nil {
		return fmt.Errorf("add %s: %w", topology.HostLink, err)
	}
	if err := configure(&netlink.Handle{}, topology.HostLink, t.Host(), t.Subnet.Bits()); err != nil {
		return err
	}
	return inside(pid, func(h *netlink.Handle) error {
		if err := loopbackUp(h); err != nil {
			return err
		}
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: topology.Bridge, HardwareAddr: hardwareAddress(t.ControlPlane())}}
		if err := h.LinkAdd(bridge); err != nil {
			return fmt.Errorf("add %s: %w", topology.Bridge, err)
		}
		if err := configure(h, topology.Bridge, t.ControlPlane(), t.Subnet.Bits()); err != nil {
			return err
		}
		if err := plug(h, hostPort); err != nil {
			return err
		}
		return addRoutes(h, topology.Bridge, t, "")
	})
}

// WireNode connects a node's machine, whose process 1 has the given PID, to
// the bridge. It replaces a link that is there already.
func WireNode(t topology.Topology, node topology.Node, pid, controlPlanePID int) error {
	err := inside(controlPlanePID, func(h *netlink.Handle) error {
		if old, err := h.LinkByName(node.Name); err == nil {
			if err := h.LinkDel(old); err != nil {
				return fmt.Errorf("remove the old link of %s: %w", node.Name, err)
			}
		}
		err := h.LinkAdd(&netlink.Veth{
			LinkAttrs:        netlink.LinkAttrs{Name: node.Name},
			PeerName:         topology.NodeLink,
			PeerNamespace:    netlink.NsPid(pid),
			PeerHardwareAddr: hardwareAddress(node.Address),
		})
		if err != nil {
			return fmt.Errorf("add the link of %s: %w", node.Name, err)
		}
		return plug(h, node.Name)
	})
	if err != nil {
		return err
	}
	return inside(pid, func(h *netlink.Handle) error {
		if err := loopbackUp(h); err != nil {
			return err
		}
		if err := configure(h, topology.NodeLink, node.Address, t.Subnet.Bits()); err != nil {
			return err
		}
		return addRoutes(h, topology.NodeLink, t, node.Name)
	})
}

// Unplug takes a node's link out of the bridge. Nothing else changes, and neither
// end is told, as when a switch fails.
func Unplug(node topology.Node, controlPlanePID int) error {
	return inside(controlPlanePID, func(h *netlink.Handle) error {
		link, err := h.LinkByName(node.Name)
		if err != nil {
			return fmt.Errorf("%s: %w", node.Name, err)
		}
		if err := h.LinkSetNoMaster(link); err != nil {
			return fmt.Errorf("take %s out of %s: %w", node.Name, topology.Bridge, err)
		}
		return nil
	})
}

// Plug puts it back.
func Plug(node topology.Node, controlPlanePID int) error {
	return inside(controlPlanePID, func(h *netlink.Handle) error { return plug(h, node.Name) })
}

// addRoutes sends each node's pods to that node, and everything for Services
// to the link: kube-proxy's rules rewrite it, but without any route a packet
// is refused before it comes to them. There is no way out of the machines.
func addRoutes(h *netlink.Handle, linkName string, t topology.Topology, self string) error {
	link, err := h.LinkByName(linkName)
	if err != nil {
		return err
	}
	for _, node := range t.AllNodes() {
		if node.Name == self {
			continue
		}
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(node.PodCIDR), Gw: node.Address.AsSlice()}
		if err := h.RouteReplace(route); err != nil {
			return fmt.Errorf("route to the pods of %s: %w", node.Name, err)
		}
	}
	services := &netlink.Route{
		LinkIndex: link.Attrs().Index,
		Scope:     netlink.SCOPE_LINK,
		Dst:       ipNet(netip.MustParsePrefix(topology.ServiceCIDR)),
	}
	if err := h.RouteReplace(services); err != nil {
		return fmt.Errorf("route to Services: %w", err)
	}
	return nil
}

func configure(h *netlink.Handle, name string, address netip.Addr, bits int) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := h.AddrReplace(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(address, bits))}); err != nil {
		return fmt.Errorf("%s: set address %s: %w", name, address, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("%s: set up: %w", name, err)
	}
	return nil
}

// plug makes a link a port of the bridge.
func plug(h *netlink.Handle, port string) error {
	link, err := h.LinkByName(port)
	if err != nil {
		return fmt.Errorf("%s: %w", port, err)
	}
	bridge, err := h.LinkByName(topology.Bridge)
	if err != nil {
		return fmt.Errorf("%s: %w", topology.Bridge, err)
	}
	if err := h.LinkSetMaster(link, bridge); err != nil {
		return fmt.Errorf("plug %s into %s: %w", port, topology.Bridge, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("%s: set up: %w", port, err)
	}
	return nil
}

func loopbackUp(h *netlink.Handle) error {
	link, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	return h.LinkSetUp(link)
}

// hardwareAddress belongs to an address for good (locally administered): a
// machine that is made again is found by those that knew it before.
func hardwareAddress(address netip.Addr) net.HardwareAddr {
	return append(net.HardwareAddr{0x02, 0x00}, address.AsSlice()...)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
