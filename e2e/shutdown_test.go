package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
)

// budget is the default of shutdownTimeout.
const budget = 2 * time.Minute

func TestBusyServerIsShutDownCleanly(t *testing.T) {
	t.Parallel()
	f := setup(t, "shutdown")
	f.ok(f.Set(f.ctx, "storage", "4Gi"))
	for name, value := range map[string]string{
		// What is dirty stays dirty until the shutdown.
		"shared_buffers": "640MB", "checkpoint_timeout": "1h", "max_wal_size": "4GB", "bgwriter_lru_maxpages": "0",
	} {
		f.ok(f.SetPath(f.ctx, "parameters."+name, value))
	}
	f.up(1)
	f.verify(proven)
	f.sql("create extension pg_buffercache")
	f.sql("create table ballast (filler text)")
	f.sql("create table work (done text)")

	for _, c := range []struct {
		name       string
		stop, next func()
	}{
		{
			"scaled to zero",
			func() { f.up(0); f.verify(proven) },
			func() { f.up(1) },
		},
		{
			"replaced by a rolling change",
			func() {
				f.ok(f.SetPath(f.ctx, `podAnnotations["example.com/round"]`, "two"))
				f.ok(f.Up(f.ctx))
			},
			func() {},
		},
		{
			// What `kubectl drain` does to each pod of a node.
			"evicted",
			func() {
				before := f.kubectl("get", "pod", pod, "--output=jsonpath={.metadata.uid}")
				f.give(map[string]any{
					"apiVersion": "policy/v1", "kind": "Eviction",
					"metadata": map[string]any{"name": pod, "namespace": f.Namespace},
				}, "create", "--raw=/api/v1/namespaces/"+f.Namespace+"/pods/"+pod+"/eviction")
				f.eventually("another pod", budget, func() (string, bool) {
					seen := f.Kubectl(f.ctx, "get", "pod", pod, "--output=jsonpath={.metadata.uid}")
					return seen.String(), seen.OK() && seen.Stdout != before
				})
			},
			func() { f.kubectl("rollout", "status", "statefulset/"+contract.StatefulSet, "--timeout=2m") },
		},
	} {
		f.sql("truncate ballast")
		f.sql("insert into ballast select repeat('x', 1000) from generate_series(1, 460000)")
		dirty := f.sql("select count(*) * 8 / 1024 >= 500 from pg_buffercache where isdirty")
		require.Equal(t, "t", dirty, "500 MB have to be dirty")

		log := f.followLog()
		client := f.openTransaction()
		begun := time.Now()
		c.stop()
		took := log.after(t, begun, "database system is shut down")
		t.Logf("%s: shut down after %s of %s", c.name, took.Round(time.Millisecond), budget)
		require.Less(t, took, budget, c.name)
		said := <-client
		require.Contains(t, said, "FATAL:  terminating connection due to administrator command", c.name)

		c.next()
		started := f.kubectl("logs", pod)
		require.Contains(t, started, "database system was shut down at", c.name)
		require.NotContains(t, started, "not properly shut down", c.name)
		require.Equal(t, "0", f.sql("select count(*) from work"), "%s: the transaction was not committed", c.name)
		require.Equal(t, "460000", f.sql("select count(*) from ballast"), c.name)
		f.verify(proven)
	}
}

// openTransaction is a client inside the pod that has written and not
// committed. What it was told in the end comes on the channel.
func (f *fixture) openTransaction() <-chan string {
	f.t.Helper()
	command := f.Command(f.ctx, "kubectl", "--namespace", f.Namespace, "exec", pod, "--", "sh", "-c",
		`PGAPPNAME=busy exec psql --no-psqlrc --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --command="begin; insert into work values ('half'); select pg_sleep(3600); commit"`)
	said := make(chan string, 1)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	require.NoError(f.t, command.Start())
	go func() {
		_ = command.Wait()
		said <- output.String()
	}()
	f.eventually("the client to have written", 3*time.Minute, func() (string, bool) {
		seen := f.sql("select count(*) from pg_stat_activity where application_name = 'busy' and backend_xid is not null")
		return seen, seen == "1"
	})
	return said
}

// followed is the log of a pod, with the time at which each line was seen.
type followed struct{ lines chan logLine }

type logLine struct {
	at   time.Time
	text string
}

// followLog reads the log of the running pod until the pod is gone.
func (f *fixture) followLog() *followed {
	f.t.Helper()
	command := f.Command(f.ctx, "kubectl", "--namespace", f.Namespace, "logs", "--follow", pod)
	output, err := command.StdoutPipe()
	require.NoError(f.t, err)
	require.NoError(f.t, command.Start())
	log := &followed{lines: make(chan logLine, 10000)}
	first := make(chan struct{})
	go func() {
		defer close(log.lines)
		scanner := bufio.NewScanner(output)
		for scanner.Scan() {
			select {
			case <-first:
			default:
				close(first)
			}
			log.lines <- logLine{time.Now(), scanner.Text()}
		}
		_ = command.Wait()
	}()
	select {
	case <-first:
	case <-time.After(time.Minute):
		require.Fail(f.t, "the log of the pod says nothing")
	}
	return log
}

// after is how long after the moment a line with the text was seen. The pod has
// to be gone.
func (l *followed) after(t *testing.T, moment time.Time, text string) time.Duration {
	t.Helper()
	var seen strings.Builder
	for line := range l.lines {
		fmt.Fprintln(&seen, line.text)
		// The first start runs a server before the one that stays.
		if strings.Contains(line.text, text) && line.at.After(moment) {
			return line.at.Sub(moment)
		}
	}
	require.Fail(t, fmt.Sprintf("no line %q after %s in the log of the pod:\n%s", text, moment, &seen))
	return 0
}
