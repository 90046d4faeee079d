package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"text/template"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logsapi "k8s.io/component-base/logs/api/v1"
	proxyapi "k8s.io/kube-proxy/config/v1alpha1"
	kubeletapi "k8s.io/kubelet/config/v1beta1"

	"stateful-postgres/local/internal/cgroup"
	"stateful-postgres/local/internal/pki"
	"stateful-postgres/local/internal/topology"
)

// Where things are inside a node's machine: the usual places, which are
// private to the machine.
const (
	kubeletRoot      = "/var/lib/kubelet"
	podLogs          = "/var/log/pods"
	configFolder     = "/run/localkube"
	containerdConfig = configFolder + "/containerd.toml"
	kubeletConfig    = configFolder + "/kubelet.json"
	proxyConfig      = configFolder + "/kube-proxy.json"
	resolvConf       = configFolder + "/resolv.conf"
	cniFolder        = configFolder + "/cni"
	cniConfig        = cniFolder + "/10-bridge.conflist"

	// pauseImage holds a pod's namespaces; it is in the checkout's images.
	pauseImage = "localhost/pause:1"
	maxPods    = 110
)

// containerdTemplate: crun takes about a quarter of the processor's time that runc takes to run a command
// in a container, and each probe of each pod is one. Registries are left out on purpose, images come from
// archives only. AppArmor profiles would be loaded into the host's kernel.
var containerdTemplate = template.Must(template.New("containerd").Parse(`version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{{.PauseImage}}"
  restrict_oom_score_adj = {{.RestrictOOMScoreAdj}}
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{{.CNIFolder}}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "crun"
`))

func configs(t topology.Topology, n topology.Node, keys pki.Files) (map[string][]byte, error) {
	restrict, err := lacksResourceCapability()
	if err != nil {
		return nil, err
	}
	var containerd bytes.Buffer
	err = containerdTemplate.Execute(&containerd, map[string]any{
		"PauseImage": pauseImage, "RestrictOOMScoreAdj": restrict, "CNIFolder": cniFolder,
	})
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{
		containerdConfig: containerd.Bytes(),
		// There is no way out of the machines, so no server to ask.
		resolvConf: []byte("# no servers beyond the cluster\n"),
	}
	for path, object := range map[string]any{
		kubeletConfig: kubelet(n, keys),
		proxyConfig:   proxy(n, keys),
		cniConfig:     cni(n),
	} {
		content, err := json.MarshalIndent(object, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		files[path] = content
	}
	return files, nil
}

// lacksResourceCapability tells whether this process may not lower an OOM
// score: runc then fails unless containerd leaves the scores as they are.
func lacksResourceCapability() (bool, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false, fmt.Errorf("read capabilities: %w", err)
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) == 0, nil
}

func kubelet(n topology.Node, keys pki.Files) *kubeletapi.KubeletConfiguration {
	no, yes := false, true
	hundred, resolver := int32(100), resolvConf
	return &kubeletapi.KubeletConfiguration{
		TypeMeta:                 metav1.TypeMeta{APIVersion: kubeletapi.SchemeGroupVersion.String(), Kind: "KubeletConfiguration"},
		Address:                  n.Address.String(),
		HealthzBindAddress:       "127.0.0.1",
		TLSCertFile:              keys.Certificate(pki.KubeletServer(n.Name)),
		TLSPrivateKeyFile:        keys.Key(pki.KubeletServer(n.Name)),
		ContainerRuntimeEndpoint: "unix://" + containerdSocket,
		Authentication: kubeletapi.KubeletAuthentication{
			X509:      kubeletapi.KubeletX509Authentication{ClientCAFile: keys.CA()},
			Webhook:   kubeletapi.KubeletWebhookAuthentication{Enabled: &yes},
			Anonymous: kubeletapi.KubeletAnonymousAuthentication{Enabled: &no},
		},
		Authorization:   kubeletapi.KubeletAuthorization{Mode: kubeletapi.KubeletAuthorizationModeWebhook},
		ClusterDNS:      []string{topology.DNSServiceIP},
		ClusterDomain:   topology.ClusterDomain,
		ResolverConfig:  &resolver,
		CgroupDriver:    "cgroupfs",
		CgroupRoot:      cgroup.Root(n.Name),
		FailCgroupV1:    &no,
		FailSwapOn:      &no,
		PodLogsDir:      podLogs,
		VolumePluginDir: kubeletRoot + "/volume-plugins",
		MaxPods:         maxPods,
		// The host's disk is shared with everything else on the machine:
		// pods are evicted only when it is all but full, images never
		// collected, since nothing could fetch them again.
		EvictionHard: map[string]string{
			"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%",
		},
		ImageGCHighThresholdPercent: &hundred,
		// Changes of a Secret or ConfigMap reach pods in seconds.
		SyncFrequency: metav1.Duration{Duration: 10e9},
		Logging:       logsapi.LoggingConfiguration{Verbosity: 1},
	}
}

func proxy(n topology.Node, keys pki.Files) *proxyapi.KubeProxyConfiguration {
	zero := int32(0)
	c := &proxyapi.KubeProxyConfiguration{
		TypeMeta:           metav1.TypeMeta{APIVersion: proxyapi.SchemeGroupVersion.String(), Kind: "KubeProxyConfiguration"},
		HostnameOverride:   n.Name,
		Mode:               "iptables",
		ClusterCIDR:        topology.PodCIDR,
		BindAddress:        n.Address.String(),
		HealthzBindAddress: "127.0.0.1:10256",
		MetricsBindAddress: "127.0.0.1:10249",
	}
	c.ClientConnection.Kubeconfig = keys.Kubeconfig(pki.Proxy)
	// A pod that becomes ready right after it got its address would wait a whole
	// second for its place behind the Services. Large clusters save work with that.
	c.IPTables.MinSyncPeriod = metav1.Duration{Duration: 100 * time.Millisecond}
	// The size of the connection table is the host's and stays as it is.
	c.Conntrack.MaxPerCore = &zero
	c.Conntrack.Min = &zero
	return c
}

// cni: pods talk to each other and to the control plane by routes, with their
// own addresses. The leases of addresses are lost with the machine, like the
// pods that had them.
func cni(n topology.Node) map[string]any {
	return map[string]any{
		"cniVersion": "0.4.0",
		"name":       "localkube",
		"plugins": []map[string]any{
			{
				"type":        "bridge",
				"bridge":      "pods0",
				"isGateway":   true,
				"hairpinMode": true,
				"ipam": map[string]any{
					"type":    "host-local",
					"dataDir": "/run/cni",
					"ranges":  [][]map[string]string{{{"subnet": n.PodCIDR.String()}}},
					"routes":  []map[string]string{{"dst": "0.0.0.0/0"}},
				},
			},
			{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}},
		},
	}
}
