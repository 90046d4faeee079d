package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/cluster"
	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

// viaDSN is the way to a server that is only known by its address.
const viaDSN = "dsn"

// way is how a server is reached.
type way struct {
	subject  *Subject
	observed *cluster.Observation
	sink     *report.Sink

	via    string
	config *pgx.ConnConfig
	// note says why the way is not the one that was expected.
	note string
	// mayForward is until when the addresses are tried before the port is forwarded; zero when
	// it never is.
	mayForward time.Time
}

// find chooses the way.
func (w *way) find(ctx context.Context) error {
	if w.subject.Cluster == nil {
		w.via = viaDSN
		return w.configure(nil)
	}
	doors, err := w.subject.Cluster.Doors(ctx, w.observed.Services[w.subject.Objects.Service], w.subject.Via)
	if err != nil {
		return err
	}
	if doors.Via == cluster.ViaPortForward {
		return w.forward(ctx)
	}
	if w.subject.Via == cluster.ViaAuto {
		w.mayForward = time.Now().Add(forwardAfter)
	}
	w.via = doors.Via
	return w.configure(doors.Addresses)
}

func (w *way) configure(addresses []string) error {
	config, err := w.subject.Config(addresses)
	if err != nil {
		return err
	}
	w.config = config
	return nil
}

// forward makes a forwarded port of a ready pod the way.
func (w *way) forward(ctx context.Context) error {
	pod := w.observed.ReadyPod()
	if pod == nil {
		return errors.New("port-forward: no pod is ready")
	}
	address, err := w.subject.Cluster.Forward(ctx, pod, w.subject.Port)
	if err != nil {
		return err
	}
	w.via = cluster.ViaPortForward
	return w.configure([]string{address})
}

// connect tries to connect once. When the addresses of a ready server do not answer for long,
// it changes over to a forwarded port.
func (w *way) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := server.Connect(ctx, w.config)
	if err == nil || w.mayForward.IsZero() || time.Now().Before(w.mayForward) {
		return conn, err
	}
	w.mayForward = time.Time{}
	// The forwarding must outlive this attempt.
	before := w.via
	if forwardErr := w.forward(context.WithoutCancel(ctx)); forwardErr != nil {
		return nil, err
	}
	w.note = fmt.Sprintf("the %s did not answer from this machine: the port is forwarded through the API server; --via port-forward goes there at once", before)
	return server.Connect(ctx, w.config)
}

// session opens a connection for writing.
func (w *way) session(ctx context.Context) (*commit.Session, error) {
	return server.Wait(ctx, func(ctx context.Context) (*commit.Session, error) { return commit.Connect(ctx, w.config) },
		func(met string) { w.sink.Progress.Say("waiting for the server: %s", met) })
}

// address is where a connection leads to.
func (w *way) address(conn *pgx.Conn) string {
	if remote := conn.PgConn().Conn().RemoteAddr(); remote.Network() == "tcp" {
		return remote.String()
	}
	return net.JoinHostPort(w.config.Host, strconv.Itoa(int(w.config.Port)))
}

// describe names the way and where it leads to.
func (w *way) describe(conn *pgx.Conn) string {
	if w.via == viaDSN {
		return w.address(conn)
	}
	return w.via + " " + w.address(conn)
}
