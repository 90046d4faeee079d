// Package faults breaks a stack of several servers in the ways that a cluster
// breaks by itself, and sees what became of the rows. Everything it does it does
// with kubectl, psql and, for nodes, with the local cluster's own command.
package faults

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

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/stack"
	"stateful-postgres/internal/writer"
)

const (
	// interval is between two looks at something that is waited for.
	interval = time.Second
	// settleTimeout is for all servers to follow again; one of them may copy
	// everything first.
	settleTimeout = 4 * time.Minute
	// primaryTimeout is for somebody to take the writes.
	primaryTimeout = 3 * time.Minute

	// meetTimeout is for one fault, until all servers follow again.
	meetTimeout = 6 * time.Minute
	// steadyWrites are acknowledged before a fault and after it.
	steadyWrites = 50

	// writePace is from one write to the next, and between attempts to connect.
	writePace = 10 * time.Millisecond
	// writeTimeout is for one write. One that waits for a standby is given the time
	// until that one is given up.
	writeTimeout = 10 * time.Second
	// connectTimeout is for one connection: a node that is away answers nothing.
	connectTimeout = 2 * time.Second
)

// Site is a stack of several servers whose rows somebody writes all the time.
type Site struct {
	*stack.Stack
	// Replicas is how many servers there are.
	Replicas int
	// Writer writes.
	Writer *writer.Writer

	outputs map[string]any
	nodes   []node

	mu sync.Mutex
	// password is the one to connect with.
	password string
	// away are the nodes that no client comes through.
	away map[string]bool
}

type node struct{ name, address string }

// Table is what the writer's rows are in.
const Table = "written"

// Open begins to write to a stack whose servers run. The writer ends with the
// context.
func Open(ctx context.Context, s *stack.Stack, replicas int) (*Site, error) {
	outputs, err := s.Outputs(ctx)
	if err != nil {
		return nil, err
	}
	site := &Site{Stack: s, Replicas: replicas, outputs: outputs, password: fmt.Sprint(outputs["password"]), away: map[string]bool{}}
	listed, err := site.kubectl(ctx, "get", "nodes",
		`--output=jsonpath={range .items[*]}{.metadata.name}={.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}`)
	if err != nil {
		return nil, err
	}
	for line := range strings.FieldsSeq(listed) {
		name, address, _ := strings.Cut(line, "=")
		site.nodes = append(site.nodes, node{name, address})
	}
	if _, err := site.Query(ctx, "create table if not exists "+Table+" (id bigint)"); err != nil {
		return nil, err
	}
	site.Writer = writer.Start(ctx, writer.Options{
		Connect: site.connect, Pace: writePace, Timeout: writeTimeout,
		Write: func(ctx context.Context, conn *pgx.Conn, number int64) error {
			_, err := conn.Exec(ctx, "insert into "+Table+" values ($1)", number)
			return err
		},
	})
	return site, nil
}

// connect comes through the Service, on one node after the other.
func (s *Site) connect(ctx context.Context) (*pgx.Conn, error) {
	s.mu.Lock()
	var hosts []string
	for _, node := range s.nodes {
		if !s.away[node.name] {
			hosts = append(hosts, net.JoinHostPort(node.address, fmt.Sprint(s.outputs["nodePort"])))
		}
	}
	// The next attempt takes another one.
	s.nodes = append(s.nodes[1:], s.nodes[0])
	password := s.password
	s.mu.Unlock()
	if len(hosts) == 0 {
		return nil, errors.New("all nodes are away")
	}
	config, err := pgx.ParseConfig(fmt.Sprintf("postgres://%s/%v?sslmode=disable", hosts[0], s.outputs["database"]))
	if err != nil {
		return nil, err
	}
	config.User, config.Password = fmt.Sprint(s.outputs["user"]), password
	config.ConnectTimeout = connectTimeout
	return pgx.ConnectConfig(ctx, config)
}

// Use lets the writer connect with another password from now on. It stays
// connected.
func (s *Site) Use(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.password = password
}

// setAway says whether clients come through a node.
func (s *Site) setAway(node string, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away[node] = away
}

// kubectl runs kubectl in the stack's namespace and returns its standard output.
func (s *Site) kubectl(ctx context.Context, arguments ...string) (string, error) {
	result := s.Kubectl(ctx, arguments...)
	return strings.TrimSpace(result.Stdout), result.Err()
}

// Psql runs a statement in a pod, over its socket, and returns the rows, columns
// separated by a bar.
func (s *Site) Psql(ctx context.Context, pod, statement string) (string, error) {
	return s.kubectl(ctx, "exec", pod, "--", "sh", "-c", Psql, "psql", statement)
}

// Psql is psql in a pod, over its socket; $1 is the statement.
const Psql = `exec psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --command="$1"`

// Primary is the pod that takes the writes.
func (s *Site) Primary(ctx context.Context) (primary string, err error) {
	return primary, Until(ctx, "a primary", primaryTimeout, func(ctx context.Context) (string, bool) {
		if primary, err = s.SeenPrimary(ctx); err != nil {
			return err.Error(), false
		}
		return strconv.Quote(primary), primary != "" && !strings.Contains(primary, " ")
	})
}

// SeenPrimary is the pod that takes the writes at the moment, "" for none. For a
// moment there may be two.
func (s *Site) SeenPrimary(ctx context.Context) (string, error) {
	return s.kubectl(ctx, "get", "pods", "--selector="+contract.LabelRole+"="+contract.RolePrimary, "--output=jsonpath={.items[*].metadata.name}")
}

// Query asks the primary, with psql alone.
func (s *Site) Query(ctx context.Context, statement string) (answer string, err error) {
	return answer, Until(ctx, "an answer of the primary", primaryTimeout, func(ctx context.Context) (string, bool) {
		primary, err := s.Primary(ctx)
		if err != nil {
			return err.Error(), false
		}
		if answer, err = s.Psql(ctx, primary, statement); err != nil {
			return err.Error(), false
		}
		return "", true
	})
}

// Node is where a pod runs.
func (s *Site) Node(ctx context.Context, pod string) (string, error) {
	return s.kubectl(ctx, "get", "pod", pod, "--output=jsonpath={.spec.nodeName}")
}

// Trusted are the servers besides the primary that have every acknowledged write.
func (s *Site) Trusted(ctx context.Context) ([]string, error) {
	names, err := s.kubectl(ctx, "get", "configmap", contract.MembersSync, "--output=jsonpath={.metadata.annotations."+contract.MembersStandbysKey+"}")
	return strings.FieldsFunc(names, func(r rune) bool { return r == ',' }), err
}

// UntilSettled returns when all other servers follow the primary and one of them
// may take the writes.
func (s *Site) UntilSettled(ctx context.Context) error {
	want := fmt.Sprintf("%d 1", s.Replicas-1)
	if s.Replicas < 2 {
		_, err := s.Primary(ctx)
		return err
	}
	err := Until(ctx, "all servers to follow", settleTimeout, func(ctx context.Context) (string, bool) {
		seen, err := s.Query(ctx, "select count(*) filter (where state = 'streaming') || ' ' || count(*) filter (where sync_state = 'sync') from pg_stat_replication")
		if err != nil {
			return err.Error(), false
		}
		return fmt.Sprintf("%q of %q, streaming and synchronous", seen, want), seen == want
	})
	if err != nil {
		return err
	}
	// PostgreSQL takes the first that comes until Patroni has chosen one. Only who is
	// chosen may take the writes.
	return Until(ctx, "a server that may take the writes", settleTimeout, func(ctx context.Context) (string, bool) {
		trusted, err := s.Trusted(ctx)
		return fmt.Sprintf("%v %v", trusted, err), err == nil && len(trusted) > 0
	})
}

// UntilWritten returns when the writer has written so many rows more.
func (s *Site) UntilWritten(ctx context.Context, rows int) error {
	before, _ := s.Writer.Count()
	return Until(ctx, "acknowledged writes", primaryTimeout, func(context.Context) (string, bool) {
		now, last := s.Writer.Count()
		return fmt.Sprintf("%d more, last problem: %v", now-before, last), now >= before+rows
	})
}

// Lost compares what was acknowledged, and these numbers besides, with what psql
// sees: it returns the numbers that are gone, and of how many.
func (s *Site) Lost(ctx context.Context, besides ...int64) (lost []int64, of int, err error) {
	acknowledged := append(s.Writer.Acknowledged(), besides...)
	rows, err := s.Query(ctx, "select id from "+Table)
	if err != nil {
		return nil, 0, err
	}
	there := map[string]bool{}
	for id := range strings.FieldsSeq(rows) {
		there[id] = true
	}
	lost = slices.DeleteFunc(slices.Clone(acknowledged), func(id int64) bool { return there[strconv.FormatInt(id, 10)] })
	return lost, len(acknowledged), nil
}

// Meet lets a fault strike and come to its end, and waits until all servers follow
// again. It returns the longest time without an acknowledged write. A write that is
// lost is an error.
func (s *Site) Meet(ctx context.Context, fault Fault) (pause time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	if err := s.UntilSettled(ctx); err != nil {
		return 0, err
	}
	if err := s.UntilWritten(ctx, steadyWrites); err != nil {
		return 0, err
	}
	struck := time.Now()
	if err := fault.Strike(ctx, s); err != nil {
		return 0, err
	}
	var inside []int64
	if fault.Heal != nil {
		if !fault.Total {
			if err := s.UntilWritten(ctx, steadyWrites); err != nil {
				return 0, err
			}
		}
		if inside, err = fault.Heal(ctx, s); err != nil {
			return 0, err
		}
	}
	if err := s.UntilWritten(ctx, steadyWrites); err != nil {
		return 0, err
	}
	if err := s.UntilSettled(ctx); err != nil {
		return 0, err
	}
	pause = s.Writer.LongestPause(struck)
	lost, of, err := s.Lost(ctx, inside...)
	if len(lost) > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d acknowledged rows are lost: %v", len(lost), of, lost))
	}
	return pause, err
}

// Until looks once a second until it sees what is waited for. Its error says what it
// saw last.
func Until(ctx context.Context, what string, timeout time.Duration, look func(context.Context) (seen string, done bool)) error {
	return UntilEvery(ctx, interval, what, timeout, look)
}

// UntilEvery is Until with another time between two looks.
func UntilEvery(ctx context.Context, interval time.Duration, what string, timeout time.Duration, look func(context.Context) (seen string, done bool)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		seen, done := look(ctx)
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: not within %s (%w); last seen: %s", what, timeout, ctx.Err(), seen)
		case <-time.After(interval):
		}
	}
}
