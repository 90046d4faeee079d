package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/verify/internal/commit"
	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

// viaDSN is the way to a server that is only known by its address.
const viaDSN = "dsn"

// way is how a server is reached: at its addresses, and through a forwarded port where those do not
// answer. It has to be closed.
type way struct {
	subject *Subject
	sink    *report.Sink

	// via is what the addresses are of; they are none when the port is always forwarded.
	via       string
	addresses []string
	// dsn describes a server without a cluster.
	dsn *pgx.ConnConfig
	// forwarder is nil where nothing is ever forwarded. It is tried from forwardFrom on.
	forwarder   *forwarder
	forwardFrom time.Time
	// database is the one to connect to; empty for the subject's.
	database string

	// usedVia and usedAddress are what the last connection went over.
	usedVia, usedAddress string
	// note says why the way is not the one that was expected.
	note string
	// onlyPrimary is until when a standby that answers is not what was looked for: while another
	// server takes the writes over, an address may lead to the one before. It is zero where one
	// server runs by itself.
	onlyPrimary time.Time
}

// connectToPrimary is what to do about a standby that answered.
const connectToPrimary = "connect to the primary: with several hosts in --dsn, target_session_attrs=read-write finds it"

// errStandby is a standby that answered where the primary was looked for.
var errStandby = errors.New("a standby answered, not the server that takes the writes")

// rejects says whether a server that answered is a standby that is of no use.
func (w *way) rejects(standby bool) bool {
	if !standby || !time.Now().Before(w.onlyPrimary) {
		return false
	}
	if w.forwarder != nil {
		w.forwarder.forget()
	}
	return true
}

// findWay chooses the ways to a server that was observed; without a cluster it is nil.
func findWay(ctx context.Context, subject *Subject, observed *kubernetes.Observation, sink *report.Sink) (*way, error) {
	w := &way{subject: subject, sink: sink}
	if subject.Objects.HighAvailability {
		w.onlyPrimary = time.Now().Add(defaultSettle)
	}
	if subject.Cluster == nil {
		config, err := subject.Config(nil)
		w.dsn = config
		return w, err
	}
	access, err := subject.Cluster.Access(ctx, observed.Services[subject.Objects.Service], subject.Via)
	if err != nil {
		return nil, err
	}
	w.via, w.addresses = access.Via, access.Addresses
	switch {
	case access.Via == kubernetes.ViaPortForward:
		w.forwarder = newForwarder(ctx, subject, observed, (*kubernetes.Observation).PrimaryPod)
	case subject.Via == kubernetes.ViaAuto:
		w.forwarder = newForwarder(ctx, subject, observed, (*kubernetes.Observation).PrimaryPod)
		w.forwardFrom = time.Now().Add(forwardAfter)
		if subject.Forwarded {
			w.forwardFrom = time.Now().Add(forwardAgainAfter)
		}
	}
	return w, nil
}

// close ends the forwarded ports, and with them the connections that go over them.
func (w *way) close() {
	if w.forwarder != nil {
		w.forwarder.close()
	}
}

// in is the same way to another database. It is closed with this one.
func (w *way) in(database string) *way {
	other := *w
	other.database = database
	return &other
}

// config describes how to connect to one address.
func (w *way) config(address string) (*pgx.ConnConfig, error) {
	config := w.dsn
	if config == nil {
		var err error
		if config, err = w.subject.Config([]string{address}); err != nil {
			return nil, err
		}
	}
	if w.database != "" {
		config = config.Copy()
		config.Database = w.database
	}
	return config, nil
}

// open tries all ways once. Addresses that do not answer for long are not waited for: the next one
// is tried, and at last a forwarded port.
func open[C any](ctx context.Context, w *way, connect func(context.Context, *pgx.ConnConfig) (C, error), discard func(C)) (C, error) {
	at := func(ctx context.Context, address string) (C, error) {
		config, err := w.config(address)
		if err != nil {
			var none C
			return none, err
		}
		return connect(ctx, config)
	}
	if w.dsn != nil {
		w.usedVia = viaDSN
		return at(ctx, "")
	}
	// Where the last connection was made, the next one mostly is, too.
	addresses := slices.Clone(w.addresses)
	if i := slices.Index(addresses, w.usedAddress); i > 0 {
		addresses[0], addresses[i] = addresses[i], addresses[0]
	}
	var candidates []server.Candidate[C]
	for _, address := range addresses {
		candidates = append(candidates, server.Candidate[C]{Connect: func(ctx context.Context) (C, error) { return at(ctx, address) }})
	}
	if w.forwarder != nil {
		candidates = append(candidates, server.Candidate[C]{NotBefore: w.forwardFrom, Connect: func(ctx context.Context) (C, error) {
			return through(ctx, w.forwarder, at)
		}})
	}
	opened, index, err := server.First(ctx, candidates, discard)
	switch {
	case err != nil:
		// The next attempt begins at another address: one may still lead to where the server was before.
		if len(addresses) > 0 {
			w.usedAddress = addresses[(index+1)%len(addresses)]
		}
	case index < len(addresses):
		w.usedVia, w.usedAddress = w.via, addresses[index]
	default:
		w.usedVia, w.usedAddress = kubernetes.ViaPortForward, ""
		if len(addresses) > 0 {
			w.note = fmt.Sprintf("the %s did not answer from this machine: the port is forwarded through the API server; "+
				"--via port-forward goes there at once", w.via)
		}
	}
	return opened, err
}

// arrival is a connection for reading, and what the server showed over it or why it did not.
type arrival struct {
	conn     *pgx.Conn
	evidence *server.Evidence
	unseen   error
}

// connect opens a connection for reading, and waits for a server that is not there yet.
func (w *way) connect(ctx context.Context) (arrival, error) {
	return server.Wait(ctx, w.tryConnect, func(met string) { w.sink.Progress.Say("waiting for the server: %s", met) })
}

// tryConnect asks the server something at once: a pooler lets clients in that has no server, and says
// so to their first query only.
func (w *way) tryConnect(ctx context.Context) (arrival, error) {
	conn, err := open(ctx, w, server.Connect, closeConnection)
	if err != nil {
		return arrival{}, err
	}
	evidence, err := server.Observe(ctx, conn)
	if err != nil && conn.IsClosed() {
		return arrival{}, err
	}
	if err == nil && w.rejects(evidence.InRecovery) {
		closeConnection(conn)
		return arrival{}, errStandby
	}
	return arrival{conn: conn, evidence: evidence, unseen: err}, nil
}

// session opens a connection for writing, and waits for a server that is not there yet.
func (w *way) session(ctx context.Context) (*commit.Session, error) {
	return server.Wait(ctx, w.trySession, func(met string) { w.sink.Progress.Say("waiting for the server: %s", met) })
}

// trySession asks the server something at once, as tryConnect does.
func (w *way) trySession(ctx context.Context) (*commit.Session, error) {
	session, err := open(ctx, w, commit.Connect, discardSession)
	if err != nil {
		return nil, err
	}
	if err := session.Ping(ctx); err != nil {
		discardSession(session)
		return nil, err
	}
	if w.rejects(session.Standby()) {
		discardSession(session)
		return nil, errStandby
	}
	return session, nil
}

// discardSession closes a session that nothing was written with.
func discardSession(session *commit.Session) { _ = session.Close() }

// address is where a connection leads to.
func (w *way) address(conn *pgx.Conn) string {
	if remote := conn.PgConn().Conn().RemoteAddr(); remote.Network() == "tcp" {
		return remote.String()
	}
	return net.JoinHostPort(w.dsn.Host, strconv.Itoa(int(w.dsn.Port)))
}

// describe names the way and where it leads to.
func (w *way) describe(conn *pgx.Conn) string {
	if w.usedVia == viaDSN {
		return w.address(conn)
	}
	return w.usedVia + " " + w.address(conn)
}
