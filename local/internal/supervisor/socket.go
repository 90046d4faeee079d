package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"stateful-postgres/local/internal/machine"
	"stateful-postgres/local/internal/topology"
)

// socket is in the abstract name space: it exists exactly as long as its
// supervisor, and every checkout on the machine finds it.
const socket = "@stateful-postgres/localkube"

const askTimeout = 5 * time.Second

// Info is what a supervisor tells about itself.
type Info struct {
	// Root is the checkout that the cluster belongs to.
	Root string `json:"root"`
	// PID is the supervisor's process.
	PID int `json:"pid"`
	// Program identifies the build of localkube that runs.
	Program  string            `json:"program"`
	Started  time.Time         `json:"started"`
	Topology topology.Topology `json:"topology"`
	Machines []MachineInfo     `json:"machines"`
}

// MachineInfo is one machine of a running cluster.
type MachineInfo struct {
	Name string `json:"name"`
	// PID is the machine's process 1 as the host sees it, 0 while it is down.
	PID      int `json:"pid"`
	Restarts int `json:"restarts"`
	// Crashed and Disconnected say that somebody took the node away.
	Crashed      bool           `json:"crashed"`
	Disconnected bool           `json:"disconnected"`
	Status       machine.Status `json:"status"`
}

// ErrNotRunning says that no cluster runs on this machine.
var ErrNotRunning = errors.New("no local cluster is running")

// Program identifies a build of localkube by the file it runs from.
func Program(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d bytes of %s", info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano)), nil
}

func (s *Supervisor) serve(listener net.Listener) *http.Server {
	program, err := Program("/proc/self/exe")
	if err != nil {
		logf("own program: %v", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /info", func(w http.ResponseWriter, _ *http.Request) {
		info := s.info()
		info.Program = program
		if err := json.NewEncoder(w).Encode(info); err != nil {
			logf("answer: %v", err)
		}
	})
	mux.HandleFunc("POST /stop", func(http.ResponseWriter, *http.Request) { s.stop() })
	mux.HandleFunc("POST /nodes/{node}/{fault}", func(w http.ResponseWriter, r *http.Request) {
		if err := s.strike(Fault(r.PathValue("fault")), r.PathValue("node")); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("POST /machines/{machine}/{component}/{does}", func(w http.ResponseWriter, r *http.Request) {
		err := s.stopComponent(r.PathValue("machine"), r.PathValue("component"), r.PathValue("does") == "stop")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("POST /nodes/{node}/{volume}/{does}", func(w http.ResponseWriter, r *http.Request) {
		if err := s.slowVolume(r.PathValue("node"), r.PathValue("volume"), r.PathValue("does") == "slow"); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: askTimeout}
	go func() {
		if err := server.Serve(ownersOnly{listener}); !errors.Is(err, http.ErrServerClosed) {
			logf("socket: %v", err)
		}
	}()
	return server
}

func (s *Supervisor) info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := Info{Root: s.layout.Root, PID: os.Getpid(), Started: s.started, Topology: s.topology}
	for _, name := range s.topology.Machines() {
		m := MachineInfo{Name: name, Restarts: s.restarts[name], Crashed: s.crashed[name], Disconnected: s.disconnected[name]}
		if r := s.machines[name]; r != nil && r.alive() {
			m.PID = r.pid
		}
		// Written whole: what does not parse is of another version.
		m.Status, _ = machine.ReadStatus(s.layout, name)
		info.Machines = append(info.Machines, m)
	}
	return info
}

// ownersOnly accepts connections from root and from the supervisor's own user:
// names in the abstract space have no file mode to protect them.
type ownersOnly struct{ net.Listener }

func (l ownersOnly) Accept() (net.Conn, error) {
	for {
		connection, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if peer, err := peerOf(connection); err == nil && (peer.Uid == 0 || int(peer.Uid) == os.Geteuid()) {
			return connection, nil
		}
		connection.Close()
	}
}

func peerOf(connection net.Conn) (*unix.Ucred, error) {
	raw, err := connection.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return peer, errors.Join(err, peerErr)
}

func client() *http.Client {
	return &http.Client{
		Timeout: askTimeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
		},
	}
}

// Ask returns what the supervisor of this machine tells, or [ErrNotRunning].
func Ask(ctx context.Context) (Info, error) {
	var info Info
	return info, do(ctx, http.MethodGet, "/info", &info)
}

// Stop asks the supervisor to end the cluster; it does not wait for the end.
func Stop(ctx context.Context) error { return do(ctx, http.MethodPost, "/stop", nil) }

// do asks for something. The answer goes to where into points, if anywhere.
func do(ctx context.Context, method, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://localkube"+path, nil)
	if err != nil {
		return err
	}
	response, err := client().Do(request)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return ErrNotRunning
	}
	if err != nil {
		return fmt.Errorf("ask the local cluster's supervisor: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return errors.Join(err, errors.New(strings.TrimSpace(string(text))))
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return fmt.Errorf("the local cluster's supervisor: %w", err)
	}
	return nil
}
