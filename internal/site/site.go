// Package site is a stack of several servers with a client that writes while faults
// strike, and sees what became of the rows.
package site

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/faults"
	"stateful-postgres/internal/stack"
	"stateful-postgres/internal/writer"
)

const (
	// writtenTimeout is for writes to go on.
	writtenTimeout = 3 * time.Minute
	// insideTimeout is for a node to come back with what was acknowledged there.
	insideTimeout = 4 * time.Minute

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
	*faults.Servers
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

// OfStack is a stack of several servers that nobody writes to.
func OfStack(s *stack.Stack, replicas int) *Site {
	site := &Site{Stack: s, away: map[string]bool{}}
	site.Servers = &faults.Servers{
		Namespace: s.Namespace, StatefulSet: contract.StatefulSet, Replicas: replicas, HighAvailability: true,
		Random: rand.New(rand.NewPCG(0, uint64(time.Now().UnixNano()))),
		Kubectl: func(ctx context.Context, input string, arguments ...string) (string, error) {
			result := s.KubectlWithInput(ctx, strings.NewReader(input), arguments...)
			return result.Stdout, result.Err()
		},
		Localkube: func(ctx context.Context, arguments ...string) error {
			if faults.TakesAway(arguments) {
				site.setAway(arguments[2], true)
			}
			err := s.Run(ctx, append([]string{"localkube"}, arguments...)...).Err()
			if faults.BringsBack(arguments) {
				site.setAway(arguments[2], err != nil)
			}
			return err
		},
	}
	return site
}

// Open begins to write to a stack whose servers run. The writer ends with the
// context.
func Open(ctx context.Context, s *stack.Stack, replicas int) (*Site, error) {
	site := OfStack(s, replicas)
	outputs, err := s.Outputs(ctx)
	if err != nil {
		return nil, err
	}
	site.outputs, site.password = outputs, fmt.Sprint(outputs["password"])
	listed, err := site.Output(ctx, "get", "nodes",
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

// UntilWritten returns when the writer has written so many rows more.
func (s *Site) UntilWritten(ctx context.Context, rows int) error {
	before, _ := s.Writer.Count()
	return faults.Until(ctx, "acknowledged writes", writtenTimeout, func(context.Context) (string, bool) {
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

const (
	// writeInside writes rows with negative numbers over the server's socket, and
	// keeps which were acknowledged. A COMMIT that nobody but the primary has comes
	// with a warning.
	writeInside = `cd /tmp && rm -f inside.* && number=0
while [ ! -e inside.stop ]; do
    number=$((number + 1))
    said=$(psql --no-psqlrc --quiet --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --set=ON_ERROR_STOP=1 \
        --command="insert into ` + Table + ` values (-$number)" 2>&1) && [ -z "$said" ] && echo "-$number" >>inside.acknowledged
    sleep 0.05
done`
	runInside  = `nohup sh -c "$1" >/dev/null 2>&1 </dev/null &`
	readInside = `touch /tmp/inside.stop; cat /tmp/inside.acknowledged`
)

// startInside lets somebody write on a server itself, who goes on when its node is cut off.
func (s *Site) startInside(ctx context.Context, pod string) error {
	if _, err := s.InPod(ctx, pod, runInside, writeInside); err != nil {
		return err
	}
	return faults.Until(ctx, "acknowledged writes on "+pod+" itself", writtenTimeout, func(ctx context.Context) (string, bool) {
		seen, err := s.Output(ctx, "exec", pod, "--", "grep", "--count", "", "/tmp/inside.acknowledged")
		return fmt.Sprint(seen, err), err == nil
	})
}

// endInside ends that, and returns what was acknowledged.
func (s *Site) endInside(ctx context.Context, pod string) (acknowledged []int64, err error) {
	var read string
	err = faults.Until(ctx, "what was acknowledged on "+pod+" itself", insideTimeout, func(ctx context.Context) (string, bool) {
		read, err = s.InPod(ctx, pod, readInside)
		return fmt.Sprint(err), err == nil
	})
	if err != nil {
		return nil, err
	}
	for word := range strings.FieldsSeq(read) {
		number, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("rows acknowledged on %s: %w", pod, err)
		}
		acknowledged = append(acknowledged, number)
	}
	return acknowledged, nil
}

// Meet lets a fault strike and come to its end, and waits until all servers follow
// again. It returns the longest time without an acknowledged write. A write that is
// lost is an error.
func (s *Site) Meet(ctx context.Context, fault faults.Fault) (pause time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	if err := s.UntilSettled(ctx); err != nil {
		return 0, err
	}
	if err := s.UntilWritten(ctx, steadyWrites); err != nil {
		return 0, err
	}
	var cutOff string
	if fault.CutsOff {
		if cutOff, err = s.Primary(ctx); err != nil {
			return 0, err
		}
		if err := s.startInside(ctx, cutOff); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	struck, err := fault.Strike(ctx, s.Servers)
	if err == nil && struck.Undo != nil && !fault.Total {
		err = s.UntilWritten(ctx, steadyWrites)
	}
	if struck != nil && struck.Undo != nil {
		err = errors.Join(err, struck.Undo(ctx))
	}
	if err != nil {
		return 0, err
	}
	var inside []int64
	if cutOff != "" {
		if inside, err = s.endInside(ctx, cutOff); err != nil {
			return 0, err
		}
	}
	if err := s.UntilWritten(ctx, steadyWrites); err != nil {
		return 0, err
	}
	if err := s.UntilSettled(ctx); err != nil {
		return 0, err
	}
	pause = s.Writer.LongestPause(began)
	lost, of, err := s.Lost(ctx, inside...)
	if len(lost) > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d acknowledged rows are lost: %v", len(lost), of, lost))
	}
	return pause, err
}
