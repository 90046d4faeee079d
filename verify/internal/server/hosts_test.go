package server_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/pgtest"
	"stateful-postgres/verify/internal/server"
)

// A connection string that names several servers leads to the one that takes the
// writes, wherever that is.
func TestSeveralHostsLeadToThePrimary(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t)
	standby := primary.Standby(t, "standby")
	dsn := func(attributes string, servers ...*pgtest.Server) string {
		hosts := ""
		for _, s := range servers {
			hosts += fmt.Sprintf(",127.0.0.1:%d", s.Port)
		}
		return "postgres://verifier@" + hosts[1:] + "/postgres?sslmode=disable" + attributes
	}
	const readWrite = "&target_session_attrs=read-write"
	const noWrites = ": answers and takes no writes, as a standby does"
	connect := func(dsn string) (standby bool, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		config, err := server.ConfigFromDSN(dsn)
		require.NoError(t, err)
		conn, err := server.Connect(ctx, config)
		if err != nil {
			return false, fmt.Errorf("%s", server.Met(err))
		}
		defer conn.Close(context.WithoutCancel(ctx))
		evidence, err := server.Observe(ctx, conn)
		require.NoError(t, err)
		return evidence.InRecovery, nil
	}
	for _, test := range []struct {
		dsn     string
		standby bool
	}{
		{dsn(readWrite, standby, primary), false},
		{dsn(readWrite, primary, standby), false},
		{dsn("", standby, primary), true},
	} {
		found, err := connect(test.dsn)
		require.NoError(t, err, test.dsn)
		require.Equal(t, test.standby, found, test.dsn)
	}
	_, err := connect(dsn(readWrite, standby))
	require.EqualError(t, err, fmt.Sprintf("127.0.0.1:%d%s", standby.Port, noWrites))
	primary.StopFast(t)
	_, err = connect(dsn(readWrite, primary, standby))
	require.EqualError(t, err, fmt.Sprintf("127.0.0.1:%d: connection refused; 127.0.0.1:%d%s", primary.Port, standby.Port, noWrites))
}
