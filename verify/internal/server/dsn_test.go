package server_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/server"
)

func TestPasswordInAConnectionStringIsSeenWhereItStands(t *testing.T) {
	// None of these is the connection string's.
	t.Setenv("PGPASSWORD", "shop")
	for dsn, holds := range map[string]bool{
		"postgres://shop@db.example.org/shop":                            false,
		"postgres://db.example.org/shop?user=shop":                       false,
		"postgresql://shop@[fd00::1]:5432,db.example.org/shop":           false,
		"postgres://shop@db.example.org/shop?search_path=password":       false,
		"postgres://shop@db.example.org/shop?sslmode=require":            false,
		"postgres://shop@db.example.org/shop?ssl=true":                   false,
		"postgres://shop:@db.example.org/shop":                           false,
		"postgres://pass%40word@db.example.org/shop":                     false,
		"host=db.example.org user=shop dbname=shop":                      false,
		"host=db.example.org user=shop application_name='password=shop'": false,
		"host=db.example.org user=shop passfile=/home/shop/.pgpass":      false,
		"host=db.example.org user=shop statement_timeout=5000":           false,
		"": false,
		"postgres://shop:secret@db.example.org/shop":                       true,
		"postgres://shop:sec%72et@db.example.org/shop":                     true,
		"postgres://shop:%73hop@db.example.org/shop":                       true,
		"postgres://:secret@db.example.org/shop":                           true,
		"postgres://db.example.org/shop?user=shop&password=secret":         true,
		"postgres://db.example.org/shop?user=shop&%70assword=secret":       true,
		"postgres://shop@db.example.org/shop?sslpassword=secret":           true,
		"host=db.example.org user=shop password=secret":                    true,
		"host=db.example.org password = 'sec ret' user=shop":               true,
		`host=db.example.org user=shop password=\s\e\c\r\e\t`:              true,
		"host=db.example.org user=shop sslpassword=secret sslmode=disable": true,
	} {
		found, err := server.HoldsPassword(dsn)
		require.NoError(t, err, dsn)
		require.Equal(t, holds, found, dsn)
	}
	_, err := server.HoldsPassword("postgres://a:b:c")
	require.Error(t, err)
}
