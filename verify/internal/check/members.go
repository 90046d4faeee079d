package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	corev1 "k8s.io/api/core/v1"

	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

const (
	// memberInterval is between two looks at servers that do not agree yet, and between two at how far
	// a standby has replayed the log.
	memberInterval = 200 * time.Millisecond
	// warningShare is the part of the time to agree that a mere warning is waited for.
	warningShare = 6
	// memberTimeout bounds one look at one server.
	memberTimeout = 10 * time.Second

	// viaAddress is the way to a pod's own address.
	viaAddress = "address"
)

// members are several servers, each reached on a way of its own. Patroni's own GET /cluster is never
// asked: it can take the lock of the primary away (patroni#3718).
type members struct {
	checker *Checker
	// primary is the connection over which the rows are looked at.
	primary *pgx.Conn

	observed *kubernetes.Observation
	reached  map[string]*reached
	// last is what was seen last.
	last *view
}

// reached is a server that there is a way to.
type reached struct {
	uid       string
	forwarder *forwarder
	conn      *pgx.Conn
	via       string
}

// view is what was seen of all servers at about the same time.
type view struct {
	observed *kubernetes.Observation
	// primary is the server over whose connection the rows are looked at.
	primary *server.Member
	members []memberView
}

// memberView is what was seen of the server in one pod.
type memberView struct {
	pod *corev1.Pod
	via string
	// state is nil for a server that could not be asked, and unseen is why.
	state  *server.Member
	unseen error
}

func newMembers(c *Checker, primary *pgx.Conn, observed *kubernetes.Observation) *members {
	return &members{checker: c, primary: primary, observed: observed, reached: map[string]*reached{}}
}

// close ends all ways but the primary's connection, which was there before.
func (m *members) close() {
	for _, server := range m.reached {
		server.close()
	}
}

func (r *reached) close() {
	if r.conn != nil {
		closeConnection(r.conn)
	}
	r.forwarder.close()
}

// alone says whether there is one server only.
func (m *members) alone() bool { return m.last != nil && len(m.last.members) == 1 }

// checkMembers looks at all servers until they agree, or do not for long, and reports what was seen.
func (c *Checker) checkMembers(ctx context.Context) {
	started := time.Now()
	for {
		seen, err := c.members.look(ctx)
		if err != nil {
			c.broken(ctx, report.Members, "primary", err)
			return
		}
		found := seen.judge()
		patience := c.settleTime()
		if !found.serious {
			patience /= warningShare
		}
		if found.waiting == "" || time.Since(started) > patience || ctx.Err() != nil {
			if found.waiting != "" {
				c.cutShort(ctx)
			}
			c.reportMembers(seen, found)
			return
		}
		c.Sink.Progress.Say("waiting: %s", found.waiting)
		select {
		case <-ctx.Done():
		case <-time.After(memberInterval):
		}
		if c.members.observed, err = c.Subject.Cluster.Observe(ctx, c.Subject.Objects); err != nil {
			c.cannotSee(ctx, err)
			return
		}
	}
}

func (c *Checker) reportMembers(seen *view, found judgement) {
	for _, check := range found.checks {
		check.Section = report.Members
		c.Sink.Add(check)
	}
	c.Sink.Report.Members = seen.describe()
	if primary := seen.primaryPod(); primary != "" {
		c.sighting.Pod, c.Sink.Report.Target.Pod = primary, primary
	}
}

// look asks all servers at once, and the primary last: what a standby has cannot be more.
func (m *members) look(ctx context.Context) (*view, error) {
	seen := &view{observed: m.observed, members: make([]memberView, len(m.observed.Pods))}
	var asked sync.WaitGroup
	for i := range m.observed.Pods {
		pod := &m.observed.Pods[i]
		known := m.reach(ctx, pod)
		asked.Go(func() {
			one := &seen.members[i]
			one.pod = pod
			one.state, one.unseen = m.ask(ctx, known, pod)
			one.via = known.via
		})
	}
	asked.Wait()
	slices.SortFunc(seen.members, func(a, b memberView) int { return kubernetes.Ordinal(a.pod.Name) - kubernetes.Ordinal(b.pod.Name) })
	var err error
	if seen.primary, err = server.ObserveMember(ctx, m.primary); err != nil {
		return nil, err
	}
	m.last = seen
	return seen, nil
}

// reach is the way to a pod's server. A pod that was made anew gets another one.
func (m *members) reach(ctx context.Context, pod *corev1.Pod) *reached {
	known := m.reached[pod.Name]
	if known != nil && known.uid == string(pod.UID) {
		return known
	}
	if known != nil {
		known.close()
	}
	known = &reached{uid: string(pod.UID), forwarder: newForwarder(ctx, &m.checker.Subject, m.observed, func(o *kubernetes.Observation) *corev1.Pod { return o.Pod(pod.Name) })}
	m.reached[pod.Name] = known
	return known
}

// ask looks at the server of a pod.
func (m *members) ask(ctx context.Context, known *reached, pod *corev1.Pod) (*server.Member, error) {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	if err := m.connect(ctx, known, pod); err != nil {
		return nil, err
	}
	return server.ObserveMember(ctx, known.conn)
}

// connect opens a connection to the server of a pod where there is none: through a forwarded port, or
// at the pod's own address. That is tried only then, because an address of the cluster's network may
// be somebody else's on this machine's.
func (m *members) connect(ctx context.Context, known *reached, pod *corev1.Pod) error {
	if known.conn != nil && !known.conn.IsClosed() {
		return nil
	}
	at := func(ctx context.Context, address string) (*pgx.Conn, error) {
		config, err := m.checker.Subject.Config([]string{address})
		if err != nil {
			return nil, err
		}
		return server.Connect(ctx, config)
	}
	conn, err := through(ctx, known.forwarder, at)
	if err == nil {
		known.conn, known.via = conn, kubernetes.ViaPortForward
		return nil
	}
	if pod.Status.PodIP == "" || m.checker.Subject.Via == kubernetes.ViaPortForward {
		return err
	}
	conn, direct := at(ctx, net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(m.checker.Subject.Port)))
	if direct != nil {
		return errors.Join(err, fmt.Errorf("%s: %w", pod.Status.PodIP, direct))
	}
	known.conn, known.via = conn, viaAddress
	return nil
}

// mayNot says whether a server could not be asked since this user may not forward its port: that says
// nothing about the server.
func mayNot(err error) bool { return err != nil && strings.Contains(err.Error(), "forbidden") }

// primaryPod is the pod of the server over whose connection the rows are looked at; of those that
// could not be asked, the one that Patroni calls the primary. It is empty when it is none of the pods.
func (v *view) primaryPod() string {
	unseen := ""
	for _, member := range v.members {
		switch {
		case member.state == nil && kubernetes.Role(member.pod) == rolePrimary:
			unseen = member.pod.Name
		case member.state != nil && !member.state.InRecovery && member.state.PostmasterStart.Equal(v.primary.PostmasterStart):
			return member.pod.Name
		}
	}
	return unseen
}

// writer is the pod whose server takes the writes, wherever the connection leads; empty when it is
// none of the pods.
func (v *view) writer() string {
	if pod := v.primaryPod(); pod != "" {
		return pod
	}
	for _, member := range v.members {
		if member.state != nil && !member.state.InRecovery {
			return member.pod.Name
		}
	}
	return ""
}

// describe is the list of servers for machines.
func (v *view) describe() []report.Member {
	var list []report.Member
	for _, member := range v.members {
		described := report.Member{Pod: member.pod.Name, Label: kubernetes.Role(member.pod), Via: member.via}
		for _, claim := range v.observed.Claims {
			if claim.Object != nil && claim.Ordinal == kubernetes.Ordinal(member.pod.Name) {
				described.Claim, described.Volume = claim.Name, claim.Object.Spec.VolumeName
			}
		}
		if stream, there := v.primary.Stream(member.pod.Name); there {
			described.SyncState = stream.SyncState
		}
		if slot, there := v.primary.Slots[server.SlotName(member.pod.Name)]; there {
			described.Slot, described.SlotActive = server.SlotName(member.pod.Name), &slot.Active
		}
		if state := member.state; state != nil {
			described.Role, described.Timeline, described.LSN = rolePrimary, state.Timeline, state.LSN.String()
			if state.InRecovery {
				lag := max(v.primary.LSN.Sub(state.LSN), 0)
				described.Role, described.LagBytes = roleStandby, &lag
			}
		}
		list = append(list, described)
	}
	return list
}
